/**
 * Light, dark, or as the system says. A classic script in the head, because a module runs after the first picture: the
 * page would flash in the other colours.
 */
(() => {
  "use strict";
  const KEY = "gateway.theme";
  const CHOICES = ["auto", "light", "dark"];

  /** What was chosen; `auto` where nothing was, or where the browser keeps nothing. */
  function chosen() {
    try {
      const kept = localStorage.getItem(KEY);
      return kept !== null && CHOICES.includes(kept) ? kept : "auto";
    } catch {
      return "auto";
    }
  }

  /** @param {string} theme */
  function apply(theme) {
    document.documentElement.dataset.theme = theme;
  }

  apply(chosen());
  Object.defineProperty(window, "gatewayTheme", {
    value: Object.freeze({
      chosen,
      /** The next choice, kept. @returns {string} */
      next() {
        const theme = CHOICES[(CHOICES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % CHOICES.length];
        apply(theme);
        try {
          localStorage.setItem(KEY, theme);
        } catch {
          // a browser that keeps nothing: it holds until the page is left
        }
        document.dispatchEvent(new CustomEvent("themechange", { detail: theme }));
        return theme;
      },
    }),
  });
})();
