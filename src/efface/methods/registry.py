"""The methods for generators and for classifiers, by name. Imports no torch.

Both share the entry-point group `efface.methods`: the class says for which kind of model it is. Methods of the two kinds
may share a name, for the model decides.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from efface.errors import InputError
from efface.methods.base import GeneratorMethod
from efface.methods.classifier.base import ClassifierMethod
from efface.plugins import Registry, read_named

GROUP = "efface.methods"

GENERATOR_METHODS: Registry[type[GeneratorMethod]] = Registry(
    "method",
    GROUP,
    GeneratorMethod,
    (
        "efface.methods.generator.encoder_noise:EncoderNoise",
        "efface.methods.generator.max_loss:MaxLoss",
        "efface.methods.generator.noisy_label:NoisyLabel",
        "efface.methods.generator.retain_label:RetainLabel",
        "efface.methods.generator.random_encoder:RandomEncoder",
        "efface.methods.generator.gradient_ascent:GradientAscent",
        "efface.methods.generator.fresh_noise:FreshNoise",
        "efface.methods.generator.retain_answer:RetainAnswer",
        "efface.methods.generator.fine_tune:FineTune",
        "efface.methods.generator.shrink_perturb:ShrinkPerturb",
        "efface.methods.generator.epsilon_constrained:EpsilonConstrained",
        "efface.methods.generator.decouple:Decouple",
        "efface.methods.generator.bargaining:Bargaining",
        "efface.methods.generator.blank:Blank",
        "efface.methods.generator.neighbour:Neighbour",
        "efface.methods.generator.level:Level",
        "efface.methods.generator.unseen:Unseen",
        "efface.methods.generator.retrain:Retrain",
    ),
    siblings=(ClassifierMethod,),
)

CLASSIFIER_METHODS: Registry[type[ClassifierMethod]] = Registry(
    "method",
    GROUP,
    ClassifierMethod,
    (
        "efface.methods.classifier.retrain:RetrainClassifier",
        "efface.methods.classifier.fanchuan:Fanchuan",
        "efface.methods.classifier.kookmin:Kookmin",
        "efface.methods.classifier.seif:Seif",
        "efface.methods.classifier.sebastian:Sebastian",
        "efface.methods.classifier.ct:Ct",
        "efface.methods.classifier.amnesiacs:Amnesiacs",
        "efface.methods.classifier.sun:Sun",
        "efface.methods.classifier.forget_cycles:ForgetCycles",
        "efface.methods.classifier.random_mask:RandomMask",
        "efface.methods.classifier.fine_tune:FineTuneClassifier",
        "efface.methods.classifier.gradient_ascent:GradientAscentClassifier",
        "efface.methods.classifier.neg_grad_plus:NegGradPlus",
        "efface.methods.classifier.random_labels:RandomLabels",
        "efface.methods.classifier.cf_k:CfK",
        "efface.methods.classifier.eu_k:EuK",
        "efface.methods.classifier.scrub:Scrub",
        "efface.methods.classifier.bad_teacher:BadTeacher",
        "efface.methods.classifier.l1_sparse:L1Sparse",
        "efface.methods.classifier.salun:SalUn",
        "efface.methods.classifier.ssd:Ssd",
        "efface.methods.classifier.lf_ssd:LfSsd",
        "efface.methods.classifier.unsir:Unsir",
        "efface.methods.classifier.fisher_forgetting:FisherForgetting",
        "efface.methods.classifier.woodfisher:WoodFisher",
        "efface.methods.classifier.sisa:Sisa",
    ),
    siblings=(GeneratorMethod,),
)


def read_method(section: Mapping[str, JsonValue]) -> GeneratorMethod:
    """A method for generators from a config section: its `name` and its own settings; raises `InputError`."""
    return read_named(GENERATOR_METHODS, section, default="encoder-noise")


def read_classifier_method(section: Mapping[str, JsonValue]) -> ClassifierMethod:
    """A method for classifiers from a config section: its `name` and its own settings; raises `InputError`."""
    name = section.get("name")
    if name in GENERATOR_METHODS and name not in CLASSIFIER_METHODS:
        raise InputError(f"the method {name} is for generators, and this model is a classifier")
    return read_named(CLASSIFIER_METHODS, section, default="fine-tune")
