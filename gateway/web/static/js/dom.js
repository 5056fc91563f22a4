/**
 * Making and changing elements. The rule of the file: text is text. Nothing that came from a plant, a file or a client is
 * ever read as markup, so there is no innerHTML in this page.
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @typedef {Node | string | number | null | undefined | false} Child
 * @typedef {Record<string, any>} Properties `class`, `text`, `on` ({click: fn}), `data` ({...}), `aria-...`, any attribute
 */

/**
 * An element: `h("p", {class: "note"}, "text")`. A property that is null, undefined or false is left out; true is an
 * attribute without a value.
 * @param {string} tag
 * @param {Properties | null} [properties]
 * @param {...Child} children
 * @returns {HTMLElement}
 */
export function h(tag, properties = null, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name === "on") for (const [event, fn] of Object.entries(value)) element.addEventListener(event, fn);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "value") /** @type {any} */ (element).value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

/** @param {Element} element @param {Child[]} children */
export function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Put `children` in place of what is there. @param {Element} element @param {...Child} children */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/** The sign `name` of index.html's sprite, hidden from readers: words stand beside it. @param {string} name */
export function icon(name, className = "icon") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", className);
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Show another sign. @param {Element} svg @param {string} name */
export function setIcon(svg, name) {
  const use = /** @type {Element} */ (svg.firstElementChild);
  const href = `#i-${name}`;
  if (use.getAttribute("href") !== href) use.setAttribute("href", href);
}

/** Touch the text only when it differs: an unchanged cell costs no layout. @param {Node} element @param {string} text */
export function setText(element, text) {
  const first = element.firstChild;
  if (first === null) {
    if (text !== "") element.textContent = text;
  } else if (first.nodeType === Node.TEXT_NODE && first.nextSibling === null) {
    if (/** @type {Text} */ (first).data !== text) /** @type {Text} */ (first).data = text;
  } else {
    element.textContent = text;
  }
}

/** @param {Element} element @param {string} name @param {string | null} value null: without it */
export function setAttribute(element, name, value) {
  if (value === null) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/**
 * Children of `parent` in the order of `elements`; only what stands elsewhere is moved.
 * @param {Element} parent @param {Element[]} elements
 */
export function setOrder(parent, elements) {
  const wanted = new Set(elements);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let at = parent.firstElementChild;
  for (const element of elements) {
    if (element === at) at = at.nextElementSibling;
    else parent.insertBefore(element, at);
  }
}
