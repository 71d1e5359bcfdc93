// Returns what is too wide and what is too faint on a page. Called with the theme to show, the smallest contrast of text,
// and whether tables must fit. (On a phone they may scroll in their own box.)
const [theme, smallest, tablesFit] = arguments;
const problems = [];
const shortened = (text) => JSON.stringify(text.trim().replace(/\s+/g, " ").slice(0, 60));

if (!document.getElementById("without-transitions")) {
  const style = document.createElement("style");
  style.id = "without-transitions";
  style.textContent = "* { transition: none !important; }";
  document.head.append(style);
}
document.body.dataset.theme = theme;

// -- widths

const page = document.documentElement;
if (page.scrollWidth > page.clientWidth) {
  problems.push(`the page is ${page.scrollWidth} px wide in a window of ${page.clientWidth} px`);
}
for (const element of document.querySelectorAll(tablesFit ? "pre, .table-wrapper" : "pre")) {
  const drawing = element.closest(".letters, .tag_letters"); // tables and drawings made of letters scroll
  if (!drawing && element.scrollWidth > element.clientWidth + 1) {
    problems.push(`${element.scrollWidth} px in a box of ${element.clientWidth} px: ${shortened(element.textContent)}`);
  }
}

// -- contrast, by the formula of WCAG 2.2

const channels = (color) => {
  const numbers = color.match(/[\d.]+/g).map(Number);
  return color.startsWith("color(") ? numbers.map((value, place) => (place < 3 ? 255 * value : value)) : numbers;
};
const over = ([red, green, blue, alpha = 1], back) =>
  [red, green, blue].map((value, place) => alpha * value + (1 - alpha) * back[place]);
const background = (element) => {
  const layers = [];
  for (let each = element; each; each = each.parentElement) {
    layers.unshift(channels(getComputedStyle(each).backgroundColor));
  }
  return layers.reduce((back, front) => over(front, back), [255, 255, 255]);
};
const luminance = (color) => {
  const [red, green, blue] = color.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};

const told = new Set();
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const text = texts.currentNode.textContent, element = texts.currentNode.parentElement;
  const visible = element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  if (!text.trim() || !visible || element.closest(".headerlink, script, style, [aria-hidden=true]")) continue;
  const back = background(element), front = over(channels(getComputedStyle(element).color), back);
  const [dark, light] = [luminance(front), luminance(back)].sort((a, b) => a - b);
  const contrast = (light + 0.05) / (dark + 0.05), colors = `${front.map(Math.round)} on ${back.map(Math.round)}`;
  if (contrast < smallest && !told.has(colors)) {
    told.add(colors);
    problems.push(`contrast ${contrast.toFixed(2)}, rgb ${colors}: ${shortened(text)}`);
  }
}
return problems;
