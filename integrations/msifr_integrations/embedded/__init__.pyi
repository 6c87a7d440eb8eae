from .shipped import EMBEDDED_MODEL as EMBEDDED_MODEL
from .shipped import embedded_model_path as embedded_model_path
from .shipped import embedded_samples_path as embedded_samples_path
from .word_problems import Problem as Problem
from .word_problems import problem as problem
from .word_problems import problems as problems
from .word_problems import split_of as split_of
