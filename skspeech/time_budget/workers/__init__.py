"""Where candidates run: a thread of this process, local processes, other people's executors."""

__all__: list = []
