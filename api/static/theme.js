// Runs before the page is drawn, so that it is never drawn in the other colours: a plain script, no module.
{
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => localStorage.getItem("theme");

  const apply = () => {
    const isDark = chosen() ? chosen() === "dark" : system.matches;
    root.dataset.theme = isDark ? "dark" : "light";
    document.querySelector("#theme")?.setAttribute("aria-pressed", String(isDark));
    document.dispatchEvent(new CustomEvent("theme"));
  };

  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.querySelector("#theme").addEventListener("click", () => {
      localStorage.setItem("theme", root.dataset.theme === "dark" ? "light" : "dark");
      apply();
    });
  });
}
