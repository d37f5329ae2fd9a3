"""The fake ComfyUI's check of a graph: the subset of the real one's that was recorded, answer for answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "data" / "comfyui"

#: The versions whose wire was recorded and that the fake speaks.
VERSIONS = ("0.10.0", "0.33.0")

Errors = list[dict[str, Any]]
CONVERTERS = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


def recorded_object_info(version: str = "0.10.0") -> dict[str, Any]:
    """
    Return object_info of this ComfyUI without its texts, as a new copy that a test may change.

    That of 0.33.0 lacks the nodes that call other services.
    """
    found: dict[str, Any] = json.loads((FOLDER / f"object_info-{version}.json").read_text())
    return found


def spec_of(info: Mapping[str, Any], name: str) -> tuple[str, list[Any]] | None:
    """Return (group, spec) of an input of a class."""
    for group in ("required", "optional"):
        if name in info["input"].get(group, {}):
            return group, info["input"][group][name]
    return None


def fault(kind: str, message: str, details: str, **extra: Any) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


class Judge:
    """Check one graph; `verdict` is (error or None, good output ids, node_errors)."""

    def __init__(self, info: Mapping[str, Any], inputs_dir: Path) -> None:
        self.info = info
        self.inputs_dir = inputs_dir

    def verdict(self, prompt: Any) -> tuple[dict[str, Any] | None, list[str], dict[str, Any]]:
        outputs = []
        for node, body in dict(prompt).items():
            place = f"Node ID '#{node}'"
            if "class_type" not in body:
                text = "Cannot execute because a node is missing the class_type property."
                return fault("invalid_prompt", text, place), [], {}
            if body["class_type"] not in self.info:
                text = f"Cannot execute because node {body['class_type']} does not exist."
                return fault("invalid_prompt", text, place), [], {}
            if self.info[body["class_type"]]["output_node"]:
                outputs.append(node)
        if not outputs:
            return fault("prompt_no_outputs", "Prompt has no outputs", ""), [], {}
        return self._check_outputs(prompt, outputs)

    def _check_outputs(
        self, prompt: Any, outputs: list[str]
    ) -> tuple[dict[str, Any] | None, list[str], dict[str, Any]]:
        good: list[str] = []
        node_errors: dict[str, Any] = {}
        texts: list[str] = []
        validated: dict[str, tuple[bool, Errors]] = {}
        for output in outputs:
            try:
                valid, errors = self._check(prompt, output, validated)
            except RecursionError as error:
                valid, errors = (
                    False,
                    [fault("exception_during_validation", "Exception when validating node", str(error))],
                )
            if valid:
                good.append(output)
                continue
            texts += [f"{error['message']}: {error['details']}" for error in errors]
            for node, (node_is_valid, found) in validated.items():
                if not node_is_valid and found:
                    told = {"errors": found, "dependent_outputs": [], "class_type": prompt[node]["class_type"]}
                    node_errors.setdefault(node, told)["dependent_outputs"].append(output)
        if good:
            return None, good, node_errors
        text = "Prompt outputs failed validation"
        return fault("prompt_outputs_failed_validation", text, "\n".join(texts)), [], node_errors

    def _check(
        self, prompt: Any, node: str, validated: dict[str, tuple[bool, Errors]], depth: int = 0
    ) -> tuple[bool, Errors]:
        if node in validated:
            return validated[node]
        if depth > 200:
            # The real server answers a circle with no reason at all.
            return False, []
        inputs = prompt[node]["inputs"]
        info = self.info[prompt[node]["class_type"]]
        errors: Errors = []
        valid = True
        for group in ("required", "optional"):
            for name, spec in info["input"].get(group, {}).items():
                if name not in inputs:
                    if group == "required" and not str(spec[0]).startswith("COMFY_"):
                        errors.append(
                            fault("required_input_missing", "Required input is missing", name, input_name=name)
                        )
                elif isinstance(inputs[name], list):
                    valid &= self._check_link(prompt, node, name, spec, errors, validated, depth)
                else:
                    errors += self._check_value(inputs, name, spec)
        validated[node] = (valid and not errors, errors)
        return validated[node]

    def _check_link(
        self, prompt: Any, node: str, name: str, spec: Any, errors: Errors, validated: Any, depth: int
    ) -> bool:
        value = prompt[node]["inputs"][name]
        if len(value) != 2:
            text = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            errors.append(
                fault("bad_linked_input", text, name, input_name=name, input_config=spec, received_value=value)
            )
            return True
        given = self.info[prompt[value[0]]["class_type"]]["output"][value[1]]
        wanted = spec[0] if isinstance(spec[0], str) else "COMBO"
        free = "*" in {given, wanted} or str(wanted).startswith("COMFY_") or isinstance(given, list)
        if not free and not set(str(given).split(",")) & set(wanted.split(",")):
            details = f"{name}, received_type({given}) mismatch input_type({wanted})"
            extra = {"input_name": name, "input_config": spec, "received_type": given, "linked_node": value}
            errors.append(fault("return_type_mismatch", "Return type mismatch between linked nodes", details, **extra))
            return True
        try:
            return self._check(prompt, value[0], validated, depth + 1)[0]
        except (KeyError, IndexError) as error:
            extra = {
                "input_name": name, "input_config": spec, "exception_message": str(error),
                "exception_type": type(error).__name__, "traceback": ["  File \"execution.py\", line 755"],
                "linked_node": value,
            }  # fmt: skip
            text = "Exception when validating inner node"
            validated[value[0]] = (False, [fault("exception_during_inner_validation", text, str(error), **extra)])
            return False

    def _check_value(self, inputs: dict[str, Any], name: str, spec: Any) -> Errors:
        value, config = inputs[name], spec[1] if len(spec) > 1 else {}
        if isinstance(value, dict) and "__value__" in value:
            value = inputs[name] = value["__value__"]
        base = {"input_name": name, "input_config": spec, "received_value": value}
        if spec[0] == "COMFY_DYNAMICCOMBO_V3":
            return []  # the real one takes any value, and the node fails
        try:
            if isinstance(spec[0], str) and spec[0] in CONVERTERS:
                value = inputs[name] = CONVERTERS[spec[0]](value)
        except (TypeError, ValueError) as error:
            text = f"Failed to convert an input value to a {spec[0]} value"
            details = f"{name}, {value}, {error}"
            return [fault("invalid_input_type", text, details, **base, exception_message=str(error))]
        if any(key.endswith("_upload") for key in config):
            return self._check_upload(name, str(value))
        if "min" in config and value < config["min"]:
            text = f"Value {value} smaller than min of {config['min']}"
            return [fault("value_smaller_than_min", text, name, **base)]
        if "max" in config and value > config["max"]:
            return [fault("value_bigger_than_max", f"Value {value} bigger than max of {config['max']}", name, **base)]
        choices = spec[0] if isinstance(spec[0], list) else config.get("options")
        if choices is not None and value not in choices:
            told = str(choices) if len(choices) <= 20 else f"(list of length {len(choices)})"
            base["input_config"] = spec if len(choices) <= 20 else None
            return [fault("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {told}", **base)]
        return []

    def _check_upload(self, name: str, value: str) -> Errors:
        path = (self.inputs_dir / value).resolve()
        if path.is_file() and path.is_relative_to(self.inputs_dir.resolve()):
            return []
        text = "Custom validation failed for node"
        return [fault("custom_validation_failed", text, f"{name} - Invalid image file: {value}", input_name=name)]
