// Sorts the rows of a table by the column whose heading is clicked, within each of its groups.
for (const table of document.querySelectorAll("table.rules")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => heading.firstElementChild.addEventListener("click", () => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    headings.forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const compare = (a, b) => {
      const [x, y] = [a, b].map((row) => row.cells[column].dataset.value);
      if (x === "None" || y === "None") return (x === "None") - (y === "None"); // what is unknown comes last
      const order = column ? x - y : x.localeCompare(y);
      return down ? -order : order;
    };
    for (const group of table.tBodies) {
      const rows = [...group.rows].filter((row) => row.className !== "group");
      group.append(...rows.sort(compare));
    }
  }));
}
