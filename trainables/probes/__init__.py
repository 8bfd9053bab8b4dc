"""Measurements inside the model. A probe is one file here and one line in `PROBES` (`trainables/measurements.py`)."""

from grokstudy.trainables.measurements import MEASURED as MEASURED
from grokstudy.trainables.measurements import PROBES as PROBES
from grokstudy.trainables.measurements import needs as needs
