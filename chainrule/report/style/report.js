document.querySelectorAll("span.math").forEach((element) => {
  katex.render(element.textContent, element, {
    displayMode: element.classList.contains("display"), throwOnError: false, trust: false, maxExpand: 1000,
  });
});
