from .blending import geometric_mean as geometric_mean
from .voting import GeometricMeanVotingClassifier as GeometricMeanVotingClassifier
