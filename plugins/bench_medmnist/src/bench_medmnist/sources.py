"""The classes and counts of MedMNIST+, as `medmnist.INFO` has them.

They are copied, because importing that package imports torch and makes a folder in the user's home. A test
compares the two.
"""

from typing import NamedTuple

ORGANS = (
    *("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right"),
    *("liver", "lung-left", "lung-right", "pancreas", "spleen"),
)


class MedMNISTSet(NamedTuple):
    """One data set.

    Attributes:
        name: how `medmnist` and bench call it.
        about: what its images show.
        parts: number of images in train, val and test.
        labels: the classes in the order of their numbers; of chestmnist, which may have several findings per
            image, the findings.
        licence: the terms of use.
        caution: what a table must say wherever it was used.
    """

    name: str
    about: str
    parts: tuple[int, int, int]
    labels: tuple[str, ...]
    licence: str = "CC BY 4.0"
    caution: str = ""


SOURCES = (
    MedMNISTSet(
        "pathmnist",
        "colorectal cancer histology, 9 tissues",
        (89_996, 10_004, 7_180),
        (
            *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle"),
            *("normal colon mucosa", "cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
        ),
    ),
    MedMNISTSet(
        "chestmnist",
        "chest X-rays: is there a finding?",
        (78_468, 11_219, 22_433),
        (
            *("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia"),
            *("pneumothorax", "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia"),
        ),
        caution="its 14 findings per image become one yes-or-no question (parameter `finding`)",
    ),
    MedMNISTSet(
        "dermamnist",
        "dermoscopy, 7 diagnoses (HAM10000)",
        (7_007, 1_003, 2_005),
        (
            "actinic keratoses and intraepithelial carcinoma",
            "basal cell carcinoma",
            "benign keratosis-like lesions",
            "dermatofibroma",
            "melanoma",
            "melanocytic nevi",
            "vascular lesions",
        ),
        licence="CC BY-NC 4.0",
        caution="HAM10000 has several images of one lesion; this set splits by image, and names no lesion",
    ),
    MedMNISTSet(
        "octmnist",
        "optical coherence tomography of the retina, 4 diagnoses",
        (97_477, 10_832, 1_000),
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    ),
    MedMNISTSet("pneumoniamnist", "chest X-rays of children", (4_708, 524, 624), ("normal", "pneumonia")),
    MedMNISTSet(
        "retinamnist",
        "fundus photographs, 5 grades of diabetic retinopathy",
        (1_080, 120, 400),
        ("0", "1", "2", "3", "4"),
        caution="ordinal grades are taken as classes",
    ),
    MedMNISTSet(
        "breastmnist",
        "breast ultrasound (BUSI)",
        (546, 78, 156),
        ("malignant", "normal, benign"),
        caution="BUSI has near-duplicate images; this set splits by image",
    ),
    MedMNISTSet(
        "bloodmnist",
        "microscopy of blood cells, 8 kinds",
        (11_959, 1_712, 3_421),
        (
            *("basophil", "eosinophil", "erythroblast"),
            "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
            *("lymphocyte", "monocyte", "neutrophil", "platelet"),
        ),
    ),
    MedMNISTSet(
        "tissuemnist",
        "microscopy of kidney cortex cells, 8 kinds",
        (165_466, 23_640, 47_280),
        (
            *(
                "Collecting Duct, Connecting Tubule",
                "Distal Convoluted Tubule",
                "Glomerular endothelial cells",
            ),
            *("Interstitial endothelial cells", "Leukocytes", "Podocytes", "Proximal Tubule Segments"),
            "Thick Ascending Limb",
        ),
    ),
    MedMNISTSet("organamnist", "abdominal CT, axial, 11 organs", (34_561, 6_491, 17_778), ORGANS),
    MedMNISTSet("organcmnist", "abdominal CT, coronal, 11 organs", (12_975, 2_392, 8_216), ORGANS),
    MedMNISTSet("organsmnist", "abdominal CT, sagittal, 11 organs", (13_932, 2_452, 8_827), ORGANS),
)
