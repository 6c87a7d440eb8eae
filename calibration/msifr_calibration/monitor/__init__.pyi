from .calibration_test import Miscalibration as Miscalibration
from .drift import Drift as Drift
from .monitor import Monitor as Monitor
from .monitor import MonitorState as MonitorState
from .monitor import RateSoFar as RateSoFar
