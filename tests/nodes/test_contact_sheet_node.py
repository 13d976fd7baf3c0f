"""Contact Sheet on pictures of every kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def sheet(comfy_host: Any, images: list[Any], rows: list[str], columns: list[str]) -> torch.Tensor:
    node = comfy_host.nodes["EriContactSheet"]
    return node.execute(rows=rows, columns=columns, title=[""], cell=[0], images=images).args[0]


def test_contact_sheet_holds_every_picture(comfy_host: Any) -> None:
    colours = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [1.0, 1.0, 0], [0, 1.0, 1.0], [1.0, 0, 1.0]])
    images = [colour.expand(1, 160, 160, 3) for colour in colours]
    for rows, columns in ((["one", "two"], ["a", "b", "c"]), (["one\ntwo"], ["a\nb\nc"]), (["one", "two"], [""])):
        result = sheet(comfy_host, images, rows, columns)
        assert result.shape[0] == 1
        assert result.shape[3] == 3
        for colour in colours:
            assert int((result[0] == colour).all(dim=-1).sum()) == 160 * 160
    with pytest.raises(ValueError, match="6 images do not fill"):
        sheet(comfy_host, images, ["one", "two"], ["a"])


def test_a_contact_sheet_of_transparent_grey_and_mixed_pictures(comfy_host: Any) -> None:
    clear = torch.zeros(1, 160, 160, 4)
    grey = torch.full((1, 80, 160, 1), 0.5)
    result = sheet(comfy_host, [clear, grey], ["row"], ["a", "b"])
    assert result.shape[3] == 3
    assert int(((result[0] * 255).round() == 127).all(dim=-1).sum()) == 80 * 160
    with pytest.raises(ValueError, match="NaN or infinite"):
        sheet(comfy_host, [torch.full((1, 160, 160, 3), float("nan"))], [""], [""])
