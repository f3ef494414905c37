"""The methods for classifiers that are built in: the reference, the competition's, the baselines. No torch."""

from __future__ import annotations

from efface.methods.classifier.amnesiacs import Amnesiacs
from efface.methods.classifier.bad_teacher import BadTeacher
from efface.methods.classifier.base import ClassifierMethod
from efface.methods.classifier.cf_k import CfK
from efface.methods.classifier.ct import Ct
from efface.methods.classifier.eu_k import EuK
from efface.methods.classifier.fanchuan import Fanchuan
from efface.methods.classifier.fine_tune import FineTuneClassifier
from efface.methods.classifier.fisher_forgetting import FisherForgetting
from efface.methods.classifier.forget_cycles import ForgetCycles
from efface.methods.classifier.gradient_ascent import GradientAscentClassifier
from efface.methods.classifier.kookmin import Kookmin
from efface.methods.classifier.l1_sparse import L1Sparse
from efface.methods.classifier.lf_ssd import LfSsd
from efface.methods.classifier.neg_grad_plus import NegGradPlus
from efface.methods.classifier.random_labels import RandomLabels
from efface.methods.classifier.random_mask import RandomMask
from efface.methods.classifier.retrain import RetrainClassifier
from efface.methods.classifier.salun import SalUn
from efface.methods.classifier.scrub import Scrub
from efface.methods.classifier.sebastian import Sebastian
from efface.methods.classifier.seif import Seif
from efface.methods.classifier.sisa import Sisa
from efface.methods.classifier.ssd import Ssd
from efface.methods.classifier.sun import Sun
from efface.methods.classifier.unsir import Unsir
from efface.methods.classifier.woodfisher import WoodFisher

COMPETITION: tuple[type[ClassifierMethod], ...] = (
    Fanchuan,
    Kookmin,
    Seif,
    Sebastian,
    Ct,
    Amnesiacs,
    Sun,
    ForgetCycles,
    RandomMask,
)
BASELINES: tuple[type[ClassifierMethod], ...] = (
    FineTuneClassifier,
    GradientAscentClassifier,
    NegGradPlus,
    RandomLabels,
    CfK,
    EuK,
    Scrub,
    BadTeacher,
    L1Sparse,
    SalUn,
    Ssd,
    LfSsd,
    Unsir,
    FisherForgetting,
    WoodFisher,
    Sisa,
)
CLASSIFIER_METHODS: tuple[type[ClassifierMethod], ...] = (RetrainClassifier, *COMPETITION, *BASELINES)
