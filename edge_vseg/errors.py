"""Every error that edge_vseg raises on purpose.

The tree::

    EdgeVsegError
    |- OptionError                 an argument or option with an impossible value
    |- SourceError                 the trained network given to the exporter
    |  |- ModelFileError           missing, empty, truncated, or not the format its name promises
    |  |- ExternalDataError        weights beside the model file that are missing, too short, or elsewhere
    |  |- CustomOperatorError      operators outside the ONNX standard
    |  |- DynamicShapeError        shapes that cannot be made static
    |  |- WeightsError             a weights file that is unsafe or does not fit
    |  |- HeadError                an output that is not a segmentation head, or does not match the classes
    |  |- SourceChangedError       not the network that the bundle to update was made from
    |- ExportError                 a step of the export failed
    |  |- UnsupportedOperatorError an operator that the ONNX-to-torch importer does not know
    |  |- QuantizationError        a backend's quantizer or converter failed
    |  |- ParityError              int8 differs from float by more than allowed
    |- BundleError                 a bundle that cannot be read, trusted or written
    |  |- BundleNotFoundError      no bundle at that path
    |  |- ManifestError            manifest.json is malformed or contradicts itself
    |  |- SchemaVersionError       written by a newer edge_vseg
    |  |- BundleFileError          a file is missing, damaged, or outside the bundle
    |  |- BundleWriteError         the target path is occupied by something that is not a bundle
    |- BackendError                an inference runtime
    |  |- BackendMissingError      its package is not installed
    |  |- BackendVersionError      its package is installed but cannot work here
    |  |- ProviderError            the execution provider or device asked for is not active
    |  |- SessionError             a graph could not be loaded or run
    |- VideoError                  a video, image folder or camera
    |  |- VideoNotFoundError       nothing at that path
    |  |- VideoDecodeError         unreadable, damaged, or without a video stream
    |  |- NoFramesError            readable, but no usable frame
    |- FrameError                  an image of the wrong shape or dtype
    |- DatasetError                labelled frames on disk
    |- CalibrationError            sample frames that cannot calibrate, or a device profile that does not fit

Each message says what was expected, what came, and what to do.
"""

from __future__ import annotations


class EdgeVsegError(Exception):
    """Base of every error raised on purpose by edge_vseg.

    Example:
        >>> from edge_vseg import EdgeVsegError, Segmenter
        >>> try:
        ...     Segmenter.open("missing.evseg")
        ... except EdgeVsegError as error:
        ...     print(error)
        no bundle at missing.evseg; make one with `edge-vseg export MODEL -o missing.evseg --frames VIDEO`
    """


class OptionError(EdgeVsegError, ValueError):
    """An argument or option has an impossible value."""


class SourceError(EdgeVsegError):
    """The trained network given to the exporter cannot be used."""


class ModelFileError(SourceError):
    """A model file is missing, empty, truncated, or not what its name promises."""


class ExternalDataError(SourceError):
    """A model's weights lie in other files, and one is missing, too short, or outside the model's folder."""


class CustomOperatorError(SourceError):
    """A model uses operators outside the ONNX standard."""


class DynamicShapeError(SourceError):
    """A model's shapes cannot be made static."""


class WeightsError(SourceError):
    """A weights file is unsafe to read or does not fit the network."""


class HeadError(SourceError):
    """A network's output is not a segmentation head, or does not match the classes."""


class SourceChangedError(SourceError):
    """The network is not the one that the bundle was made from."""


class ExportError(EdgeVsegError):
    """A step of the export failed."""


class UnsupportedOperatorError(ExportError):
    """The ONNX-to-torch importer does not know an operator."""


class QuantizationError(ExportError):
    """A backend's quantizer or converter failed."""


class ParityError(ExportError):
    """An int8 graph differs from its float graph by more than ``max_drop``."""


class BundleError(EdgeVsegError):
    """A bundle cannot be read, trusted or written."""


class BundleNotFoundError(BundleError):
    """There is no bundle at that path."""


class ManifestError(BundleError):
    """manifest.json is malformed or contradicts itself."""


class SchemaVersionError(BundleError):
    """The bundle's schema version is not one that this edge_vseg reads."""


class BundleFileError(BundleError):
    """A file of the bundle is missing, damaged, or outside it."""


class BundleWriteError(BundleError):
    """The bundle cannot be written to that path."""


class BackendError(EdgeVsegError):
    """An inference runtime failed."""


class BackendMissingError(BackendError):
    """The runtime's package is not installed."""


class BackendVersionError(BackendError):
    """The runtime's package is installed but cannot work in this environment."""


class ProviderError(BackendError):
    """The requested execution provider or device is not available or not active."""


class SessionError(BackendError):
    """A graph could not be loaded or run."""


class VideoError(EdgeVsegError):
    """A video, image folder or camera cannot be read or written."""


class VideoNotFoundError(VideoError):
    """There is nothing at that path."""


class VideoDecodeError(VideoError):
    """A video is unreadable, damaged, or has no video stream."""


class NoFramesError(VideoError):
    """A source is readable but holds no usable frame."""


class FrameError(EdgeVsegError, ValueError):
    """An image has the wrong shape or dtype."""


class DatasetError(EdgeVsegError):
    """Labelled frames on disk are missing, unreadable, or do not match."""


class CalibrationError(EdgeVsegError):
    """Sample frames cannot calibrate, or a device profile is missing, damaged, or of another bundle or machine."""
