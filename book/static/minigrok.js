// What a browser does not do by itself. Every page can be read without this script.

// Search results fetch a summary of each page, which a browser refuses for local files: show titles alone there.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// What is too wide scrolls in its own box; the box must be reachable from the keyboard, and only then.
function reachable() {
  for (const box of document.querySelectorAll(".pst-scrollable-table-container, mjx-container[display], .cell_output, pre")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
addEventListener("load", () => {
  document.querySelector(".bd-sidebar-primary")?.setAttribute("role", "navigation");   // the logo stands outside all landmarks
  document.querySelector(".bd-sidebar-primary")?.setAttribute("aria-label", "Course");
  document.querySelector("nav.bd-toc-nav")?.setAttribute("aria-label", "On this page");
  // The search box that Ctrl+K opens lies over the page: it goes when the focus leaves it.
  const search = document.querySelector(".search-button__wrapper");
  search?.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !search.contains(event.relatedTarget)) search.classList.remove("show");
  });
  reachable();
  window.MathJax?.startup?.promise.then(reachable);
  document.addEventListener("toggle", reachable, true);                                // a solution was opened
});
addEventListener("resize", reachable);

// On paper nothing can be opened: print closed solutions and hints open, and close them again afterwards.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((box) => { box.open = true; });
});
addEventListener("afterprint", () => opened.forEach((box) => { box.open = false; }));
