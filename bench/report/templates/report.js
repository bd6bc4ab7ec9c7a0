"use strict";
// Sorting, filtering, the theme and the details of a cell. Everything can be read without this script: what it
// adds are controls. Texts go from the page to the page as text, never as markup.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // --- theme: kept where the browser lets a page from disk keep anything ---
  const kept = (value) => {
    try {
      if (value !== undefined) localStorage.setItem("bench-theme", value);
      return localStorage.getItem("bench-theme");
    } catch {
      return null;
    }
  };
  const themes = ["System", "Light", "Dark"].map((name) => make("button", { type: "button", textContent: name }));
  const useTheme = (name) => {
    if (name === "System") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name.toLowerCase();
    for (const button of themes) button.setAttribute("aria-pressed", String(button.textContent === name));
  };
  for (const button of themes) {
    button.addEventListener("click", () => {
      kept(button.textContent);
      useTheme(button.textContent);
    });
  }
  const stored = kept();
  useTheme(themes.some((button) => button.textContent === stored) ? stored : "System");
  const switches = make("div", { className: "themes" }, ...themes);
  switches.setAttribute("role", "group");
  switches.setAttribute("aria-label", "Colours");
  document.querySelector("body > header")?.prepend(switches);

  // --- sorting: cells without a value stay last ---
  const worth = (row, place, numeric) => {
    const cell = row.cells[place];
    if (!numeric) return cell.textContent.trim();
    const text = cell.dataset.value ?? cell.textContent.trim().replace("\u2212", "-").replace(/^<\s*/, "");
    return text === "" || Number.isNaN(Number(text)) ? null : Number(text);
  };
  const order = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  const sortBy = (table, head) => {
    const numeric = head.dataset.sort === "number";
    const first = head.dataset.first ?? "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const direction = head.getAttribute("aria-sort") === first ? other : first;
    for (const each of all("thead th", table)) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [worth(row, head.cellIndex, numeric), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return direction === "ascending" ? order(a, b) : order(b, a);
    });
    body.append(...keyed.map(([, row]) => row));
  };
  for (const table of all("table.sortable")) {
    for (const head of all("thead th", table)) {
      const button = make("button", { type: "button" }, ...head.childNodes);
      button.addEventListener("click", () => sortBy(table, head));
      head.replaceChildren(button);
    }
  }

  // --- filters ---
  const results = document.querySelector("#results .card");
  if (results) {
    const names = [...new Set(all("[data-dataset]").map((each) => each.dataset.dataset))];
    const rows = all("table.filtered tbody tr");
    const words = make("input", { type: "search", autocomplete: "off", spellcheck: false });
    const chosen = make("select", {}, make("option", { value: "", textContent: "all" }));
    names.forEach((name, place) => chosen.append(make("option", { value: String(place), textContent: name })));
    const said = make("output", { className: "aside" });
    const filter = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        const name = [...row.cells].filter((c) => !c.dataset.metric).map((c) => c.textContent).join(" ").toLowerCase();
        row.hidden = !wanted.every((word) => name.includes(word));
      }
      const only = chosen.value === "" ? null : names[Number(chosen.value)];
      for (const each of all("[data-dataset]")) each.hidden = only !== null && each.dataset.dataset !== only;
      const left = rows.filter((row) => !row.hidden && !row.closest("[hidden]")).length;
      said.textContent = left === rows.length ? "" : `${left} of ${rows.length} rows`;
    };
    const tools = make("div", { className: "tools" }, make("label", {}, "Filter methods", words));
    if (names.length > 1) tools.append(make("label", {}, "Data set", chosen));
    tools.append(said);
    words.addEventListener("input", filter);
    chosen.addEventListener("change", filter);
    results.before(tools);
    filter();
  }

  // --- where a value comes from ---
  const dialog = make("dialog");
  const close = make("button", { type: "button", className: "close", textContent: "Close" });
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  document.body.append(dialog);
  const tell = (cell) => {
    const row = cell.closest("tr");
    const origin = document.getElementById(row.dataset.origin);
    const metric = cell.dataset.metric;
    const head = cell.closest("table").tHead.rows[0].cells[cell.cellIndex].textContent.trim();
    const copy = origin.cloneNode(true);
    copy.removeAttribute("id");
    const name = copy.querySelector("h4");
    const others = all("thead th", copy).filter((each) => each.dataset.of && each.dataset.of !== metric);
    const places = others.map((each) => each.cellIndex).reverse();
    for (const each of all("tr", copy)) for (const place of places) each.cells[place].remove();
    for (const each of all("button.copy", copy)) each.remove();
    const title = make("h2", { id: "cell-title", textContent: `${head}: ${name.textContent}` });
    name.remove();
    const about = all("[data-about]").find((each) => each.dataset.about === metric);
    const where = cell.closest("[data-dataset]").dataset.dataset;
    dialog.replaceChildren(
      close,
      title,
      make("p", { className: "figure-text", textContent: cell.dataset.whole }),
      make("p", { className: "aside", textContent: `${where}. ${about ? about.textContent : ""}` }),
      copy,
    );
    dialog.setAttribute("aria-labelledby", "cell-title");
    offerCopies(dialog);
    dialog.showModal();
    close.focus();
  };
  for (const cell of all("table.main td[data-metric]")) {
    const button = make("button", { type: "button" }, ...cell.childNodes);
    button.addEventListener("click", () => tell(cell));
    cell.replaceChildren(button);
  }

  // --- copying commands, where the browser permits it ---
  function offerCopies(root) {
    if (!navigator.clipboard) return;
    for (const code of all("pre > code", root)) {
      const button = make("button", { type: "button", className: "copy", textContent: "Copy" });
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(code.textContent);
          button.textContent = "Copied";
        } catch {
          button.textContent = "Not permitted";
        }
      });
      code.parentElement.after(button);
    }
  }
  offerCopies(document);
})();
