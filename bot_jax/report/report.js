"use strict";
// Switches the curves of a run off and on, and reads values off the curves under the pointer.
// Without it the page has all that is on it.
(() => {
  const panels = [...document.querySelectorAll(".panels figure")].map((figure) => {
    const svg = figure.querySelector("svg");
    const [xLow, xHigh, left, right] = svg.dataset.x.split(" ").map(Number);
    const [yLow, yHigh, bottom, top] = svg.dataset.y.split(" ").map(Number);
    const curves = [...svg.querySelectorAll(".curve")].map((curve) => ({
      curve,
      points: curve.querySelector("path").getAttribute("d").slice(1).split("L")
        .map((pair) => pair.split(" ").map(Number)),
    }));
    return {
      svg, curves, left, right,
      guide: svg.querySelector(".guide"),
      output: figure.querySelector(".values"),
      epoch: (x) => xLow + ((x - left) / (right - left)) * (xHigh - xLow),
      value: (y) => yLow + ((bottom - y) / (bottom - top)) * (yHigh - yLow),
    };
  });

  for (const button of document.querySelectorAll("button[data-run]")) {
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      for (const { curves } of panels) {
        for (const { curve } of curves) {
          if (curve.dataset.run === button.dataset.run) curve.classList.toggle("hidden", !shown);
        }
      }
    });
  }

  const show = (panel, x) => {
    panel.guide.setAttribute("x1", x);
    panel.guide.setAttribute("x2", x);
    panel.guide.style.visibility = "visible";
    panel.output.replaceChildren(`epoch ${Number(panel.epoch(x).toPrecision(3))}`);
    for (const { curve, points } of panel.curves) {
      if (curve.classList.contains("hidden")) continue;
      const near = points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
      const swatch = document.createElement("span");
      swatch.className = `swatch run-${curve.dataset.run}`;
      const text = `${curve.querySelector("title").textContent} ${Number(panel.value(near[1]).toPrecision(4))}`;
      panel.output.append(" \u00a0", swatch, text);
    }
  };

  for (const panel of panels) {
    panel.svg.addEventListener("pointermove", (event) => {
      const box = panel.svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * panel.svg.viewBox.baseVal.width;
      show(panel, Math.min(Math.max(x, panel.left), panel.right));
    });
    panel.svg.addEventListener("pointerleave", () => {
      panel.guide.style.visibility = "hidden";
      panel.output.replaceChildren();
    });
  }
})();
