from .formats.accepted import write_accepted as write_accepted
from .generation.generate import generate as generate
from .generation.inputs import load_model as load_model
from .generation.inputs import read_prompts as read_prompts
from .generation.merge import merge_runs as merge_runs
from .generation.options import GenerateOptions as GenerateOptions
from .generation.result import Result as Result
from .servers.options import ServerOptions as ServerOptions
