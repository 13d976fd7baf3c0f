"""Graphs whose pictures lie in a folder of their own inside their run's."""

from __future__ import annotations

from dataclasses import replace

from ..images.layouts import template_in
from .builder import Workflow


def placed(workflow: Workflow, place: str) -> Workflow:
    """The graph with its pictures in the folder `place`; "" = where the layout has them."""
    template = template_in(workflow.spec.layout, workflow.spec.family, place) if place else ""
    nodes = {
        name: node._replace(inputs={**node.inputs, "template": template})
        if node.class_type == "EriSaveSamples" else node
        for name, node in workflow.graph.nodes.items()
    }  # fmt: skip
    return replace(workflow, graph=replace(workflow.graph, nodes=nodes))
