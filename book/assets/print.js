/* Paper is white, so a page in dark mode is printed in light colours, pictures included. */
(() => {
  "use strict";
  let theme;
  window.addEventListener("beforeprint", () => {
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
  });
  window.addEventListener("afterprint", () => {
    document.documentElement.dataset.theme = theme;
  });
})();
