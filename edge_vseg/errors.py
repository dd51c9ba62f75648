"""Every error that edge_vseg raises on purpose.

The tree::

    EdgeVsegError
    |- OptionError                 an argument or option with an impossible value
    |- OutputError                 a result cannot be written: the disk is full, read-only or broken
    |- SourceError                 the trained network given to the exporter
    |  |- ModelFileError           missing, empty, truncated, or not the format its name promises
    |  |- ExternalDataError        weights beside the model file that are missing, too short, or elsewhere
    |  |- CustomOperatorError      operators outside the ONNX standard, or that TFLite lacks
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
    |  |- SignatureError           a signature is damaged, or of another bundle
    |  |  |- UnsignedBundleError   there is none, and this machine asks for one
    |  |  |- UntrustedKeyError     none of the keys that signed is trusted here
    |  |  |- RevokedKeyError       the key that signed, or the bundle, was revoked
    |  |  |- ExpiredSignatureError the release is not to be installed any more
    |  |- UpdateError              a bundle could not be updated
    |  |  |- DownloadError         the new bundle cannot be fetched as it was signed
    |  |  |- RollbackError         it is older than one that was trusted here
    |  |  |- RejectedBundleError   it does not work on this machine
    |- BackendError                an inference runtime
    |  |- BackendMissingError      its package is not installed
    |  |- BackendVersionError      its package is installed but cannot work here
    |  |- ProviderError            the execution provider or device asked for is not active
    |  |- SessionError             a graph could not be loaded or run
    |  |  |- BackendCrashError      it killed the process in which it was tried out
    |  |  |- ProbeTimeoutError      it took too long there
    |  |  |- SegmenterBusyError    another thread is in the segmenter
    |  |  |- SegmenterClosedError  used after it was closed
    |- VideoError                  a video, image folder or camera
    |  |- VideoNotFoundError       nothing at that path
    |  |- VideoDecodeError         unreadable, damaged, or without a video stream
    |  |- NoFramesError            readable, but no usable frame
    |  |- CameraPackageError       the package that a kind of camera needs is not installed
    |  |- RecordingError           an MCAP file or rosbag2 that cannot be read or written
    |- FrameError                  an image of the wrong shape or dtype
    |- DatasetError                labelled frames on disk
    |- TrainingError               a training whose numbers run away
    |- CalibrationError            sample frames that cannot calibrate, or a device profile that does not fit
    |- MessageError                a ROS 2 message that is damaged, or in an encoding that is not read
    |- TransportError              ROS 2's topics cannot be reached
    |- PipelineError               the background pipeline of a live source
    |  |- StaleError               the newest result is older than allowed
    |  |- PipelineTimeoutError     no newer result within the time given
    |  |- PipelineEndedError       the source has ended, and no newer result will come
    |  |- PipelineFailedError      it gave up, and stays closed
    |  |- PipelineClosedError      used after it was closed
    |- ClusterError                the machines that jobs are spread over: not there, or not of one kind
    |- ForkError                   opened before a fork, and used in the child process

Each message says what was expected, what came, and what to do.
"""

from __future__ import annotations

from pathlib import Path


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


class OutputError(EdgeVsegError, OSError):
    """A result cannot be written; what was there before is unchanged.

    Attributes:
        errno: The system's number, such as ``errno.ENOSPC``.
        filename: The file, as the user knows it.

    Example:
        >>> from pathlib import Path
        >>> from edge_vseg.errors import OutputError
        >>> from edge_vseg.files import write_whole
        >>> try:
        ...     write_whole(Path("/dev/full"), b"figures")
        ... except OutputError as error:
        ...     print(str(error).partition(";")[0])
        /dev/full cannot be written: No space left on device
    """

    def __init__(self, message: str, *, cause: OSError, path: Path) -> None:
        super().__init__(message)
        self.errno, self.strerror, self.filename = cause.errno, cause.strerror, str(path)

    def __str__(self) -> str:
        """The message."""
        return str(self.args[0])


class SourceError(EdgeVsegError):
    """The trained network given to the exporter cannot be used."""


class ModelFileError(SourceError):
    """A model file is missing, empty, truncated, or not what its name promises."""


class ExternalDataError(SourceError):
    """A model's weights lie in other files, and one is missing, too short, or outside the model's folder."""


class CustomOperatorError(SourceError):
    """A model uses operators outside the ONNX standard, or a TFLite file some that TFLite lacks."""


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


class SignatureError(BundleError):
    """A bundle's signature is damaged or of another bundle, or the trusted keys cannot be read."""


class UnsignedBundleError(SignatureError):
    """A bundle is not signed, and this machine opens signed bundles only."""


class UntrustedKeyError(SignatureError):
    """None of the keys that signed a bundle is trusted here."""


class RevokedKeyError(SignatureError):
    """The key that signed a bundle, or the bundle itself, was revoked."""


class ExpiredSignatureError(SignatureError):
    """A release has expired and is not to be installed any more."""


class UpdateError(BundleError):
    """A bundle could not be updated; the one before is in place."""


class DownloadError(UpdateError):
    """The new bundle cannot be fetched, or not as it was signed."""


class RollbackError(UpdateError):
    """The release is older than one that was trusted on this device."""


class RejectedBundleError(UpdateError):
    """The new bundle does not work on this machine."""


class BackendError(EdgeVsegError):
    """An inference runtime failed."""


class BackendMissingError(BackendError):
    """The runtime's package is not installed."""


class BackendVersionError(BackendError):
    """The runtime's package is installed but cannot work in this environment."""


class ProviderError(BackendError):
    """The requested execution provider or device is not available or not active."""


class SessionError(BackendError):
    """A graph could not be loaded or run, or a frame not be answered."""


class BackendCrashError(SessionError):
    """A graph killed the child process in which it was tried out, or took all memory."""


class ProbeTimeoutError(SessionError):
    """A graph took too long in the child process in which it was tried out."""


class SegmenterBusyError(SessionError):
    """Another thread is in this segmenter."""


class SegmenterClosedError(SessionError):
    """The segmenter was closed before."""


class VideoError(EdgeVsegError):
    """A video, image folder or camera cannot be read or written."""


class VideoNotFoundError(VideoError):
    """There is nothing at that path."""


class VideoDecodeError(VideoError):
    """A video is unreadable, damaged, or has no video stream."""


class NoFramesError(VideoError):
    """A source is readable but holds no usable frame."""


class CameraPackageError(VideoError):
    """A kind of camera needs a package that is not installed."""


class RecordingError(VideoError):
    """An MCAP file or rosbag2 cannot be read or written, or its package is missing."""


class FrameError(EdgeVsegError, ValueError):
    """An image has the wrong shape or dtype."""


class DatasetError(EdgeVsegError):
    """Labelled frames on disk are missing, unreadable, or do not match."""


class TrainingError(EdgeVsegError):
    """A training cannot go on: a loss or its gradient is not finite, and would be in every weight."""


class CalibrationError(EdgeVsegError):
    """Sample frames cannot calibrate, or a device profile is missing, damaged, or of another bundle or machine."""


class MessageError(EdgeVsegError):
    """A ROS 2 message is damaged, or holds an image in an encoding that is not read."""


class TransportError(EdgeVsegError):
    """ROS 2's topics cannot be reached: a package is missing, or the network refuses."""


class PipelineError(EdgeVsegError):
    """The background pipeline has no result to give."""


class StaleError(PipelineError):
    """The newest result is older than allowed, or there is none yet.

    Attributes:
        age_ms: Milliseconds from the capture of what the newest labels show until now; infinite before the first.

    Example:
        >>> from edge_vseg import Pipeline, PipelineOptions, StaleError
        >>> with Pipeline.open("street.evseg", "drive.mp4", options=PipelineOptions(max_age_ms=1e-6)) as pipeline:
        ...     try:
        ...         pipeline.latest()
        ...     except StaleError as error:
        ...         blind = error.age_ms
        >>> blind > 0
        True
    """

    def __init__(self, message: str, *, age_ms: float) -> None:
        super().__init__(message)
        self.age_ms = age_ms


class PipelineTimeoutError(PipelineError, TimeoutError):
    """No newer result came within the time given."""


class PipelineEndedError(PipelineError):
    """The source has ended, and no newer result will come."""


class PipelineFailedError(PipelineError):
    """The pipeline gave up and stays closed; ``__cause__`` is the last error, if there was one."""


class PipelineClosedError(PipelineError):
    """The pipeline was closed before."""


class ClusterError(EdgeVsegError):
    """There is no Ray cluster at an address, its nodes do not fit, or an input did not reach one."""


class ForkError(EdgeVsegError):
    """A segmenter, pipeline or live source was opened before a fork, and is used in the child process."""
