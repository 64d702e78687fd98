"use strict";
// What lies under the pointer, in words. The charts are whole without it.
(() => {
  const tip = document.getElementById("tip");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  line.setAttribute("class", "cross");
  const within = (value, most) => Math.max(0, Math.min(most - 1, Math.floor(value)));
  const show = (words, event) => {
    tip.textContent = words;
    tip.hidden = false;
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    tip.style.left = Math.max(4, left) + "px";
    tip.style.top = Math.max(4, event.clientY - tip.offsetHeight - 10) + "px";
  };
  for (const figure of document.querySelectorAll("figure[data-box]")) {
    const svg = figure.querySelector("svg");
    const [left, top, right, bottom] = figure.dataset.box.split(" ").map(Number);
    const tips = JSON.parse(figure.querySelector("script").textContent);
    const hide = () => { tip.hidden = true; line.remove(); };
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / box.width;
      const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
      if (x < left || x > right || y < top || y > bottom || !tips.columns.length) return hide();
      const at = (x - left) / (right - left) * tips.columns.length;
      const column = within(at, tips.columns.length);
      let words = tips.columns[column];
      if (!words) return hide();
      if (tips.rows.length) {
        const row = within((bottom - y) / (bottom - top) * tips.rows.length, tips.rows.length);
        words += "\n" + tips.rows[row] + "\n" + (tips.cells[column + " " + row] || "nothing written");
      } else {
        const middle = left + (column + 0.5) / tips.columns.length * (right - left);
        for (const [name, value] of Object.entries({ x1: middle, x2: middle, y1: top, y2: bottom })) line.setAttribute(name, value);
        svg.append(line);
      }
      show(words, event);
    });
  }
  document.documentElement.dataset.ready = "yes";
})();
