import sys

from skspeech.challenge.local_test import main

if __name__ == "__main__":
    sys.exit(main())
