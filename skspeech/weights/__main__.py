import sys

from skspeech.weights._command import main

if __name__ == "__main__":
    sys.exit(main())
