"""brainenc: voxelwise encoding from stimuli and brain responses to a scored, mapped cortex.

Nothing heavy happens here: rooms are imported where they are used (``brainenc.encoders``, ``brainenc.surfaces``, ...).
"""

from __future__ import annotations

__version__ = "0.1.0"
