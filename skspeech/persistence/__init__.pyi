from .errors import ModelFileError as ModelFileError
from .errors import ModelVersionWarning as ModelVersionWarning
from .loading import load as load
from .loading import read_metadata as read_metadata
from .saving import save as save
