/**
 * What is wrong with how the graph on the canvas is drawn, one sentence each: nodes that lie over one another, a node
 * outside its group, a link beside its node, a name that is cut, texts below the size that the front end draws.
 * Rectangles are those of the page's elements with Vue nodes, and of LiteGraph's own arithmetic without.
 */
() => {
  const { canvas } = app;
  const { graph, ds } = canvas;
  const faults = [];
  const vue = LiteGraph.vueNodesMode;
  const limit = 8 / 14;
  const canvasBox = canvas.canvas.getBoundingClientRect();
  const title = (node) => `${node.title} (${node.type})`;
  const context = document.createElement("canvas").getContext("2d");
  const width = (text, size) => {
    context.font = `${size}px Arial`;
    return context.measureText(text ?? "").width;
  };

  const rect = (node) => {
    if (vue) {
      const element = document.querySelector(`[data-node-id="${node.id}"]`);
      if (!element) return faults.push(`${title(node)} is not drawn`), null;
      const box = element.getBoundingClientRect();
      const left = (box.left - canvasBox.left) / ds.scale - ds.offset[0];
      const top = (box.top - canvasBox.top) / ds.scale - ds.offset[1];
      return [left, top, left + box.width / ds.scale, top + box.height / ds.scale];
    }
    const [x, y] = node.pos;
    if (node.flags.collapsed) return [x, y - 30, x + Math.max(node._collapsed_width ?? 80, 80), y];
    const [least, low] = node.computeSize();
    if (node.size[0] < least - 0.5 || node.size[1] < low - 0.5) faults.push(`${title(node)} is smaller than it must be`);
    const badge = node.badges?.length ? 20 : 0;
    return [x, y - 30 - badge, x + Math.max(node.size[0], least), y + Math.max(node.size[1], low)];
  };
  const over = (one, other) =>
    Math.min(Math.min(one[2], other[2]) - Math.max(one[0], other[0]), Math.min(one[3], other[3]) - Math.max(one[1], other[1]));

  const nodes = graph._nodes.map((node) => [node, rect(node)]).filter(([, box]) => box);
  nodes.forEach(([node, box], index) => {
    const sockets = [box[0] - 6, box[1], box[2] + 6, box[3]]; // half a socket stands out
    for (const [other, its] of nodes.slice(index + 1)) {
      const depth = over(sockets, [its[0] - 6, its[1], its[2] + 6, its[3]]);
      if (depth > 0) faults.push(`${title(node)} lies ${Math.ceil(depth)} px over ${title(other)}`);
    }
  });
  const groups = graph._groups.map((group) => {
    const [x, y, w, h] = [...group.pos, ...group.size];
    return [group, [x, y, x + w, y + h]];
  });
  groups.forEach(([group, box], index) => {
    if (width(group.title, group.font_size) > box[2] - box[0]) faults.push(`the title of group ${group.title} is cut`);
    for (const [other, its] of groups.slice(index + 1)) {
      if (over(box, its) > 0) faults.push(`group ${group.title} lies over group ${other.title}`);
    }
  });
  for (const [node, box] of groups.length ? nodes : []) {
    const near = groups.filter(([, its]) => over(box, its) > 0);
    if (near.length !== 1) {
      faults.push(`${title(node)} is in ${near.length} groups`);
      continue;
    }
    const [group, its] = near[0];
    const out = Math.max(its[0] - box[0], its[1] + group.font_size - box[1], box[2] - its[2], box[3] - its[3]);
    if (out > 0) faults.push(`${title(node)} sticks ${Math.ceil(out)} px out of ${group.title}`);
  }

  if (vue) {
    const boxes = new Map(nodes);
    const isAt = (node, [x, y], side) => {
      const its = boxes.get(node);
      if (its && (Math.abs(x - its[side]) > 16 || y < its[1] || y > its[3])) faults.push(`${title(node)}: a link ends beside it`);
    };
    for (const { origin_id, origin_slot, target_id, target_slot } of graph.links.values()) {
      const [origin, target] = [graph.getNodeById(origin_id), graph.getNodeById(target_id)];
      if (origin) isAt(origin, origin.getOutputPos(origin_slot), 2);
      if (target) isAt(target, target.getInputPos(target_slot), 0);
    }
  }

  if (ds.scale < limit) faults.push(`shown at ${ds.scale.toFixed(3)}, below ${limit.toFixed(3)}: no text can be read`);

  const cut = (node, text) => faults.push(`${title(node)}: "${text}" is cut`);
  for (const [node, box] of nodes) {
    if (vue) {
      const element = document.querySelector(`[data-node-id="${node.id}"]`);
      for (const part of element.querySelectorAll("*")) {
        if (part.children.length || !part.textContent.trim() || part.tagName === "TEXTAREA") continue;
        const style = getComputedStyle(part);
        if (style.overflowX === "visible" || style.whiteSpace !== "nowrap" || !part.clientWidth) continue;
        if (part.parentElement.classList.contains("w-20")) continue; // 1.32.9: 80 px for a widget's name, however wide
        if (part.scrollWidth > part.clientWidth + 1) cut(node, part.textContent.trim());
      }
      continue;
    }
    const room = box[2] - box[0];
    if (width(node.title, 14) > room - 40) cut(node, node.title);
    if (node.flags.collapsed) continue;
    const name = (slot) => slot?.label ?? slot?.localized_name ?? slot?.name;
    const sockets = node.inputs.filter((input) => !input.widget);
    for (let row = 0; row < Math.max(sockets.length, node.outputs.length); row += 1) {
      const needed = width(name(sockets[row]), 12) + width(name(node.outputs[row]), 12) + 50;
      if (needed > room) cut(node, `${name(sockets[row])} … ${name(node.outputs[row])}`);
    }
    for (const widget of node.widgets ?? []) {
      if (widget.hidden || widget.element) continue;
      const [label, value] = [widget.label || widget.name, widget._displayValue ?? ""];
      const around = widget.type === "text" ? 60 : 85;
      const shown = widget.type === "text" ? 0 : width(value, 12) + 5;
      if (width(label, 12) + shown > room - around) cut(node, `${label} ${value}`);
    }
  }
  return faults;
}
