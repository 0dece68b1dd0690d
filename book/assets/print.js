/* Paper is white, so a page in dark mode is printed in light colours, pictures included. Nobody can
   open a folded part on paper, so all of them are printed. */
(() => {
  "use strict";
  let theme;
  let opened;
  window.addEventListener("beforeprint", () => {
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    opened = [...document.querySelectorAll("details.course-deeper:not([open])")];
    for (const part of opened) {
      part.open = true;
    }
  });
  window.addEventListener("afterprint", () => {
    document.documentElement.dataset.theme = theme;
    for (const part of opened) {
      part.open = false;
    }
  });
})();
