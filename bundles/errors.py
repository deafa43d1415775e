"""Why a bundle is refused, can't be made, or fails while it serves."""

from messages.errors import Refused
from messages.status import RejectCode

_REMEDIES: dict[RejectCode, str] = {
    RejectCode.UNREACHABLE: "check the address and that this process may read it",
    RejectCode.TOO_LARGE: "export a smaller policy or raise the size limit in the settings",
    RejectCode.MISSING_FILE: "publish the bundle again, whole",
    RejectCode.UNLISTED_FILE: "remove what is no part of the bundle, or export and sign it again",
    RejectCode.BAD_NAME: "publish only the plain files that the bundle format names",
    RejectCode.UNSIGNED: "sign it with `tickpilot bundle sign`, or say `allow_unsigned: true` in the settings",
    RejectCode.BAD_SIGNATURE: "sign it again with `tickpilot bundle sign --replace`",
    RejectCode.UNTRUSTED_KEY: "add the signer's .pub file to the trust directory if you trust it",
    RejectCode.REVOKED_KEY: "sign it with a key that is not revoked",
    RejectCode.DIGEST_MISMATCH: "publish the bundle again; if it happens twice, find out who changes it",
    RejectCode.BAD_METADATA: "export it again with this version of bundles.export_policy",
    RejectCode.EXPIRED: "train and publish a newer bundle",
    RejectCode.OLD_SEQUENCE: "export it with a higher sequence, or use `tickpilot rollout rollback`",
    RejectCode.WRONG_STRATEGY: "publish it for the strategy that it was made for",
    RejectCode.WRONG_INSTRUMENTS: "train it on these instruments or change the settings",
    RejectCode.WRONG_SHAPE: "export it again with the feature spec and spaces that it was trained with",
    RejectCode.UNKNOWN_FEATURES: "use a version of tickpilot and settings that know the features or train without them",
    RejectCode.FORBIDDEN_CODE: "export it with bundles.export_policy or bundles.export.export_module",
    RejectCode.LOAD_FAILED: "export it again with a torch version that is not newer than the one that serves",
    RejectCode.GOLDEN_MISMATCH: "export it again on a machine of this kind; never serve it",
    RejectCode.NOT_FINITE: "look for NaN in the weights and the normaliser, train and export again",
    RejectCode.TIMED_OUT: "export a smaller policy or raise the time limit in the settings",
}


class BundleRefused(Refused):
    """Raised when a bundle must not be used. `code` travels in Rejected; `facts` are the values behind it."""

    def __init__(self, code: RejectCode, detail: str, **facts: object) -> None:
        super().__init__(f"{code}: {detail}; {_REMEDIES[code]}")
        self.code, self.detail, self.facts = code, detail, facts


class ExportFailed(Refused):
    """Raised when a model can't be exported, or the exported policy doesn't act like the model."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what, self.remedy = what, remedy


class PolicyError(Refused):
    """Raised when a policy fails or gives an answer that must not be traded on. `code` says which."""

    def __init__(self, code: RejectCode, what: str) -> None:
        super().__init__(f"the policy's answer was refused: {what}; no order may come from it")
        self.code, self.what = code, what


class KeyRefused(Refused):
    """Raised when a key file can't be used."""

    def __init__(self, path: object, detail: str, remedy: str) -> None:
        super().__init__(f"{path}: {detail}; {remedy}")
        self.path, self.detail, self.remedy = path, detail, remedy
