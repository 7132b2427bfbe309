"""The pipeline to compare with: everything within the C-STORE handler, as most small AI nodes have it.

``python -m tests.bench.in_the_handler AE_TITLE PORT PACS_PORT``. Before an image is answered it is decoded, windowed, resized and
read by the same trained model, its report and picture are built with highdicom and stored in the PACS, each on an
association of its own. Nothing is kept on a disk, so what it was doing when it dies is lost.
"""

from __future__ import annotations

import sys
from typing import Any

import cv2
import highdicom as hd
import numpy as np
from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ComputedRadiographyImageStorage, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from node import bundle as bundles
from node.pixels import model_input
from tests.bench.keras_way import KerasModel
from tests.peers import HOST
from tests.running import BUNDLE

_SIDE = 1024
_MANUFACTURER = "Everything in the handler"


class Pipeline:
    """What the handler does with an image."""

    def __init__(self, ae_title: str, pacs_port: int) -> None:
        self._ae_title = ae_title
        self._bundle = bundles.load(BUNDLE)
        self._model = KerasModel(self._bundle)
        self._codes = [label.code for label in self._bundle.manifest.labels]
        self._pacs_port = pacs_port
        spec = self._bundle.manifest.preprocessing
        warm = np.zeros((1, spec.rows, spec.columns, 3), np.float32)
        self._model.predict(warm)
        self._model.grad_cam(warm, 1)

    def store(self, event: evt.Event) -> int:
        """Answer a C-STORE request."""
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        plane = _windowed(dataset)
        batch = model_input(plane, self._bundle.manifest.preprocessing)[np.newaxis]
        probabilities = self._model.predict(batch)[0]
        shown = 1 + int(np.argmax(probabilities[1:]))
        heat = self._model.grad_cam(batch, shown)
        self._send(self._report(dataset, probabilities))
        self._send(_picture(dataset, plane, heat))
        return 0x0000

    def _report(self, dataset: Dataset, probabilities: Any) -> Dataset:
        device = hd.sr.ObserverContext(
            observer_type=CodedConcept("121007", "DCM", "Device"),
            observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(uid=generate_uid()),
        )
        measurements = [
            hd.sr.Measurement(
                name=CodedConcept(code.value, code.scheme, code.meaning),
                value=round(100 * float(probability), 1),
                unit=CodedConcept("%", "UCUM", "percent"),
            )
            for code, probability in zip(self._codes, probabilities, strict=True)
        ]
        group = hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(uid=generate_uid(), identifier="film"),
            measurements=measurements,
            source_images=[hd.sr.SourceImageForMeasurementGroup.from_source_image(dataset)],
        )
        content = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=device),
            procedure_reported=CodedConcept("399208008", "SCT", "Plain chest X-ray"),
            imaging_measurements=[group],
        )
        return hd.sr.ComprehensiveSR(
            evidence=[dataset],
            content=content[0],
            series_instance_uid=generate_uid(),
            series_number=900,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=_MANUFACTURER,
            is_complete=True,
        )

    def _send(self, result: Dataset) -> None:
        entity = AE(self._ae_title)
        entity.add_requested_context(result.SOPClassUID, result.file_meta.TransferSyntaxUID)
        association = entity.associate(HOST, self._pacs_port)
        assert association.is_established
        status = association.send_c_store(result)
        assert status.Status == 0x0000, status
        association.release()


def _windowed(dataset: Dataset) -> Any:
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float32)
    values -= values.min()
    values /= max(float(values.max()), 1.0)
    return 1 - values if dataset.PhotometricInterpretation == "MONOCHROME1" else values


def _picture(dataset: Dataset, plane: Any, heat: Any) -> Dataset:
    scale = _SIDE / max(plane.shape)
    size = round(plane.shape[1] * scale), round(plane.shape[0] * scale)
    gray = cv2.resize((255 * plane).astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    film = cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
    colors = cv2.applyColorMap((255 * cv2.resize(heat, size)).astype(np.uint8), cv2.COLORMAP_JET)[..., ::-1]
    overlay = cv2.addWeighted(film, 0.6, np.ascontiguousarray(colors), 0.4, 0)
    return hd.sc.SCImage.from_ref_dataset(
        ref_dataset=dataset,
        pixel_array=overlay,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=generate_uid(),
        sop_instance_uid=generate_uid(),
        series_number=901,
        instance_number=1,
        manufacturer=_MANUFACTURER,
        patient_orientation=("L", "F"),
    )


def main() -> None:
    ae_title, port, pacs_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    pipeline = Pipeline(ae_title, pacs_port)
    entity = AE(ae_title)
    for uid in (Verification, ComputedRadiographyImageStorage):
        entity.add_supported_context(uid)
    entity.start_server((HOST, port), block=True, evt_handlers=[(evt.EVT_C_STORE, pipeline.store)])


if __name__ == "__main__":
    main()
