"use strict";
// Every text from a file enters the page as text, never as HTML: textContent and attributes alone.
(() => {
  const ROWS = 50;
  const { columns, texts, rows } = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const body = document.querySelector("#worklist tbody");
  const boxes = [...document.querySelectorAll("#filter input[name=group]")];
  const collator = new Intl.Collator(document.documentElement.lang, { numeric: true });
  const state = { key: "rank", descending: false, page: 0, shown: rows };
  for (const row of rows) row.searchable = `${row.study_id}\n${row.text}`.toLowerCase();

  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
  const inFolder = (row, file) => [...row.folder.split("/"), file].map(encodeURIComponent).join("/");
  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const percent = (value) =>
    value === null ? "–" : value < 0.01 ? "< 1 %" : value > 0.99 ? "> 99 %" : `${Math.round(value * 100)} %`;
  const volume = (value) =>
    value === null ? "–" : `${value >= 9.95 ? value.toFixed(0) : value >= 0.995 ? value.toFixed(1) : value.toFixed(2)} ml`;

  const compare = (first, second) => {
    const [a, b] = [first[state.key], second[state.key]];
    // What has no value stands last in either direction.
    if (a === null || b === null) return (a === null) - (b === null) || first.rank - second.rank;
    const order = typeof a === "string" ? collator.compare(a, b) : a - b;
    return (state.descending ? -order : order) || first.rank - second.rank;
  };

  const thumbnail = (row) => {
    const frame = element("span", "thumbnail", row.thumbnail ? undefined : texts.no_thumbnail);
    if (row.thumbnail) {
      const image = element("img");
      image.loading = "lazy";
      image.alt = fill(texts.thumbnail, { study: row.study_id });
      image.src = inFolder(row, "thumbnail.jpg");
      frame.append(image);
    }
    return frame;
  };

  const line = (row) => {
    const made = element("tr", row.urgency);
    const [image, study, impression] = [element("td"), element("th"), element("td")];
    image.append(thumbnail(row));
    study.scope = "row";
    if (row.folder === null) {
      study.append(element("span", "", row.study_id), element("br"), element("span", "quiet", texts.no_report));
    } else {
      const link = element("a", "", row.study_id);
      link.href = inFolder(row, "report.html");
      link.title = fill(texts.open_report, { study: row.study_id });
      study.append(link);
    }
    const badge = row.status === "evaluated" ? texts[`urgency_${row.urgency}`] : texts[`status_${row.status}`];
    const text = element("span", "text", row.text);
    text.title = row.text;
    impression.append(element("span", "badge", badge), text);
    made.append(element("td", "number", row.rank), image, study, impression);
    made.append(element("td", "number", percent(row.probability)), element("td", "number", volume(row.volume_ml)));
    return made;
  };

  const draw = () => {
    const pages = Math.max(1, Math.ceil(state.shown.length / ROWS));
    state.page = Math.min(Math.max(0, state.page), pages - 1);
    const first = state.page * ROWS;
    body.replaceChildren(...state.shown.slice(first, first + ROWS).map(line));
    byId("count").textContent = state.shown.length
      ? fill(texts.count, { shown: state.shown.length, all: rows.length })
      : texts.no_match;
    byId("page").textContent = fill(texts.page_of, { page: state.page + 1, pages });
    byId("previous").disabled = state.page === 0;
    byId("next").disabled = state.page === pages - 1;
  };

  const select = () => {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const groups = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    state.shown = rows
      .filter((row) => groups.has(row.urgency) && words.every((word) => row.searchable.includes(word)))
      .sort(compare);
    state.page = 0;
    draw();
  };

  const sortBy = (button) => {
    const key = button.dataset.key;
    // The first press shows what is largest, but ranks and names from their beginning.
    const fresh = !(key === "rank" || key === "study_id");
    state.descending = key === state.key ? !state.descending : fresh;
    state.key = key;
    for (const heading of document.querySelectorAll("#worklist thead th")) heading.removeAttribute("aria-sort");
    button.closest("th").setAttribute("aria-sort", state.descending ? "descending" : "ascending");
    select();
  };

  const cell = (value) => {
    const text = String(value ?? "");
    // What a spreadsheet would run as a formula (OWASP, CSV injection).
    const plain = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return `"${plain.replaceAll('"', '""')}"`;
  };
  const table = () => {
    const lines = state.shown.map((row) => [
      row.rank, row.study_id, row.urgency, row.probability?.toFixed(4), row.volume_ml?.toFixed(2), row.status, row.text,
      row.folder === null ? "" : `${row.folder}/report.html`,
    ]);
    return `\ufeff${[columns, ...lines].map((values) => `${values.map(cell).join(",")}\r\n`).join("")}`;
  };
  const save = () => {
    const address = URL.createObjectURL(new Blob([table()], { type: "text/csv;charset=utf-8" }));
    const link = element("a");
    link.href = address;
    link.download = "worklist.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  };

  for (const button of document.querySelectorAll("#worklist thead button")) {
    button.addEventListener("click", () => sortBy(button));
  }
  for (const box of boxes) box.addEventListener("change", select);
  const turn = (pages) => {
    state.page += pages;
    draw();
    window.scrollTo({ top: byId("count").offsetTop - 20 });
  };
  byId("search").addEventListener("input", select);
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  byId("export").addEventListener("click", save);
  select();
})();
