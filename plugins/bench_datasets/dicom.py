"""What the headers of DICOM files say of a data set: which images are of one patient."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench import ConfigError, Sample, is_dicom_file
from bench_datasets.listing import first_few

HEADERS = ["PatientID", "IssuerOfPatientID", "NumberOfFrames"]


class _Header(NamedTuple):
    group: str  # of the patient; "" if the file names none
    frames: int


def with_patients(samples: tuple[Sample, ...]) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """The samples, of which DICOM files without a group have one for each PatientID, and what a user should
    know.

    A group is named by the first digits of a hash, so that no manifest or table holds the PatientID itself.
    Reads the header of every DICOM file. Raises ConfigError if pydicom is not installed.
    """
    read = {s.id: _header(s.path) for s in samples if s.path is not None and is_dicom_file(s.path)}
    headers = {id_: header for id_, header in read.items() if header is not None}
    if not headers:
        return samples, ()
    grouped = tuple(
        replace(s, group=headers[s.id].group) if s.id in headers and not s.group else s for s in samples
    )
    return grouped, tuple(_notes(headers, [s for s in samples if s.id in headers and not s.group]))


def _notes(headers: dict[str, _Header], ungrouped: Sequence[Sample]) -> list[str]:
    several = [id_ for id_, header in headers.items() if header.frames > 1]
    nameless = [s.id for s in ungrouped if not headers[s.id].group]
    patients = {headers[s.id].group for s in ungrouped} - {""}
    notes = []
    if patients:
        count = "one PatientID" if len(patients) == 1 else f"{len(patients)} PatientIDs"
        notes.append(f"{len(ungrouped) - len(nameless)} DICOM files are grouped by their patients: {count}")
    if len(patients) == 1 and len(ungrouped) > 1:
        notes.append(
            "all of these have the same PatientID, as anonymised files may, and are on one side of a split; "
            "say which are of one patient by dataset.folder.group or a csv file"
        )
    if nameless:
        notes.append(f"{len(nameless)} DICOM files name no PatientID and stand alone: {first_few(nameless)}")
    if several:
        notes.append(
            f"{len(several)} DICOM files hold several frames, of which the middle one is read: "
            f"{first_few(several)}"
        )
    return notes


def _header(path: Path) -> _Header | None:
    """None if it cannot be read: whoever decodes the image will say so."""
    try:
        from pydicom import dcmread
    except ImportError:
        raise ConfigError(
            f'{path}: DICOM files are read by pydicom, which is not installed: pip install "medbench[dicom]"'
        ) from None
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=HEADERS)
        patient = str(header.get("PatientID") or "").strip()
        frames = int(header.get("NumberOfFrames") or 1)
    except Exception:  # pydicom raises nearly anything on a damaged file
        return None
    issuer = str(header.get("IssuerOfPatientID") or "").strip()
    return _Header(_hashed(f"{issuer}\n{patient}") if patient else "", frames)


def _hashed(patient: str) -> str:
    return f"patient-{hashlib.sha256(patient.encode()).hexdigest()[:12]}"
