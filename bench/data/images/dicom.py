"""DICOM files to 8-bit pixels. The only module of the core that knows pydicom, which the extra "dicom"
installs.

What a viewer shows first is what is read: stored values are rescaled (modality LUT, or slope and intercept),
then mapped to grey by the file's first VOI LUT, or its first window under its VOI LUT function. A file with
neither is mapped from the lowest to the highest value that such files of the data set hold, so that
brightness stays comparable between them. MONOCHROME1 is inverted, padding is black, colour becomes RGB. Of
several frames the middle one is read. No overlay is drawn, and neither pixel spacing nor anything that names
a person is looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.data.images.ranges import DICOM, Extent
from bench.data.images.shape import check_shape
from bench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

# Attributes that map values, and the functional group that holds them where frames have their own (PS3.3
# C.7.6.16).
_MODALITY = ("PixelValueTransformationSequence", ("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"))
_VOI = ("FrameVOILUTSequence", ("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"))
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_GREYS = ("MONOCHROME1", "MONOCHROME2")
# What tells devices and protocols apart, and no person.
_DEVICE = (
    *("Modality", "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "StationName"),
    *("SoftwareVersions", "InstitutionName", "ProtocolName", "SeriesDescription", "ViewPosition"),
    *("PhotometricInterpretation", "BitsStored", "LossyImageCompression", "ConversionType"),
)


def read_dicom(
    path: Path, windowless: tuple[float, float] | None = None
) -> tuple[NDArray[np.uint8], int, int]:
    """Pixels, (H, W) if grey, else (H, W, 3), the samples per pixel that the file stores, and its frames.

    `windowless`: what becomes black and white if the file has no window; None: its own lowest and highest
    value. Raises DataError if it holds no image of a kind that is known, ConfigError if what reads it is not
    installed, and whatever pydicom raises on a damaged file.
    """
    dataset = _read(path)
    kind = dataset.PhotometricInterpretation
    stored, frames = _middle_frame(dataset), _frames(dataset)
    if kind in _GREYS:
        return _grey(dataset, stored, windowless), 1, frames
    if kind == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        colours = apply_color_lut(stored, dataset)
        return _scaled(colours, 0, np.iinfo(colours.dtype).max), 1, frames
    return _scaled(stored, 0, 2**dataset.BitsStored - 1), 3, frames


def dicom_says(path: Path) -> list[str]:
    """What the header says of device and protocol, as "name=value". Raises as `read_dicom`."""
    header = _read(path, header=True)
    return [f"{name}={header[name].value}" for name in _DEVICE if name in header]


def dicom_extent(path: Path) -> Extent | None:
    """The lowest and highest value of a grey file without a window; None for others. Raises as
    `read_dicom`."""
    header = _read(path, header=True)
    check_shape(header.Rows, header.Columns)
    if header.PhotometricInterpretation not in _GREYS or _is_windowed(_voi(header)):
        return None
    dataset = _read(path)
    stored = _middle_frame(dataset)
    values = _rescaled(dataset, stored)[~_padding(dataset, stored)]
    values = values[np.isfinite(values)]
    return Extent(DICOM, float(values.min()), float(values.max())) if values.size else None


def _read(path: Path, header: bool = False) -> Dataset:
    """The file, or its header alone, if it holds an image of a kind that is known."""
    try:
        from pydicom import dcmread
    except ImportError:
        raise _not_installed("DICOM files are read by pydicom, which is not installed") from None
    dataset = dcmread(path, stop_before_pixels=header)
    if "Rows" not in dataset or not (header or any(name in dataset for name in _PIXELS)):
        raise DataError(
            f"holds no image (its Modality is {dataset.get('Modality') or 'not stated'}); "
            "take it out of the data set"
        )
    kind = dataset.get("PhotometricInterpretation")
    if kind not in (*_GREYS, *_COLOURS, "PALETTE COLOR"):
        raise DataError(
            f"has the photometric interpretation {kind}, which is not read; save it as MONOCHROME2 or RGB"
        )
    return dataset


_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def _not_installed(what: str) -> ConfigError:
    from bench.registry import DISTRIBUTION

    return ConfigError(f'{what}: pip install "{DISTRIBUTION}[dicom]"')


def _middle(dataset: Dataset) -> int:
    """The number of the frame that is read, from 0."""
    return _frames(dataset) // 2


def _frames(dataset: Dataset) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def _middle_frame(dataset: Dataset) -> NDArray[Any]:
    """Stored values, (H, W) or (H, W, 3); YBR is converted to RGB."""
    from pydicom.pixels import get_decoder, pixel_array

    syntax = dataset.file_meta.TransferSyntaxUID
    decoder = get_decoder(syntax)
    if not decoder.is_available:
        raise _not_installed(f"what reads pixels in {syntax.name} is not installed")
    # Decoders differ by a grey level in lossy files: the same one wherever it is, whatever else is installed.
    plugin = "pylibjpeg" if "pylibjpeg" in decoder.available_plugins else ""
    stored: NDArray[Any] = pixel_array(dataset, index=_middle(dataset), decoding_plugin=plugin)
    return stored


def _grey(
    dataset: Dataset, stored: NDArray[Any], windowless: tuple[float, float] | None
) -> NDArray[np.uint8]:
    padding = _padding(dataset, stored)
    values = _rescaled(dataset, stored)
    voi = _voi(dataset)
    if _given(voi, "VOILUTSequence"):
        grey = _through_lut(voi, values)
    elif _is_windowed(voi):
        grey = _windowed(voi, values)
    elif padding.all():
        grey = np.zeros(values.shape, np.uint8)
    else:
        shown = values[~padding]
        grey = _scaled(values, *(windowless or (float(shown.min()), float(shown.max()))))
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    return np.where(padding, np.uint8(0), grey)


def _padding(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the device added pixels to fill a rectangle (PS3.3 C.7.5.1.1.2)."""
    first = dataset.get("PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, np.bool_)
    last = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    padding: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return padding


def _rescaled(dataset: Dataset, stored: NDArray[Any]) -> NDArray[Any]:
    from pydicom.pixels import apply_modality_lut

    values: NDArray[Any] = apply_modality_lut(stored, _attributes(dataset, *_MODALITY))
    return values


def _voi(dataset: Dataset) -> Dataset:
    return _attributes(dataset, *_VOI)


def _attributes(dataset: Dataset, sequence: str, names: tuple[str, ...]) -> Dataset:
    """A data set of these attributes alone: of the frame, of all frames, or of the file, the first that has
    any."""
    from pydicom import Dataset

    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    groups = [*per_frame[_middle(dataset) :][:1], *shared[:1]]
    places = [item for group in groups for item in (group.get(sequence) or [])[:1]]
    found = Dataset()
    found.file_meta = dataset.file_meta  # the byte order of a LUT
    for place in (*places, dataset):
        if given := [name for name in names if _given(place, name)]:
            for name in given:
                found[name] = place[name]
            break
    return found


def _given(dataset: Dataset, name: str) -> bool:
    """Whether an attribute is there and not empty."""
    return name in dataset and not dataset[name].is_empty


def _is_windowed(voi: Dataset) -> bool:
    return _given(voi, "VOILUTSequence") or (_given(voi, "WindowCenter") and _given(voi, "WindowWidth"))


def _windowed(voi: Dataset, values: NDArray[Any]) -> NDArray[np.uint8]:
    from pydicom import Dataset
    from pydicom.pixels import apply_windowing

    # pydicom gives the range of the stored values; of values that are said to have 8 bits, that is 0 to 255.
    eight_bits = Dataset()
    for name in _VOI[1][1:]:
        if name in voi:
            eight_bits[name] = voi[name]
    eight_bits.PhotometricInterpretation = "MONOCHROME2"
    eight_bits.PixelRepresentation, eight_bits.BitsStored = 0, 8
    with np.errstate(over="ignore"):  # of values far below a sigmoid window, which become 0
        return _scaled(apply_windowing(values, eight_bits), 0, 255)


def _through_lut(voi: Dataset, values: NDArray[Any]) -> NDArray[np.uint8]:
    from pydicom.pixels import apply_voi

    item = voi.VOILUTSequence[0]
    entries, first, bits = item.LUTDescriptor
    # pydicom keeps indices in as many bits as entries have, and 8 overflow.
    item.LUTDescriptor = [entries, first, 16]
    return _scaled(apply_voi(np.rint(values).astype(np.int64), voi), 0, 2**bits - 1)


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """`low` to 0 and `high` to 255, rounded."""
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    share = (values.astype(np.float64) - low) / (high - low)
    return np.floor(np.clip(share, 0, 1) * 255 + 0.5).astype(np.uint8)
