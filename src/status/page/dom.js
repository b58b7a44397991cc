// Elements. Text goes in as text, never as markup, and is written only where it changed: a selection stays, and what
// reads the screen aloud is not told the same again.

import { visible } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";

function made(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
        if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
}

/** An HTML element with attributes and children. */
export const h = (tag, attributes = {}, ...children) => made(document.createElement(tag), attributes, children);

/** An SVG element. */
export const svg = (tag, attributes = {}, ...children) =>
    made(document.createElementNS(SVG, tag), attributes, children);

export const find = (id) => document.getElementById(id);

export function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
    if (value === null) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** A number as it is shown, and as it is. Nothing at all stands back, so that the eye finds what moves. */
export function setNumber(element, number, text) {
    setText(element, text);
    setAttribute(element, "value", typeof number === "number" ? number : null);
    element.classList.toggle("zero", number === 0);
}

/** The name of an export, isolated from the direction of what is around it. */
export function setName(element, name) {
    setText(element, name === "" ? "(default)" : visible(name));
    element.classList.toggle("default", name === "");
    setAttribute(element, "title", name.length > 40 ? visible(name) : null);
}

/** Where an export's detail is on this page. */
export const placeOf = (name) => `#export=${encodeURIComponent(name)}`;

/**
 * Makes the children of `parent` those of `items`, in their order. A child stays with its key: `create` makes one,
 * `update` shows an item in it.
 */
export function keyed(parent, items, key, create, update) {
    const old = parent.keyed ?? new Map();
    const fresh = new Map();
    let next = parent.firstElementChild;
    for (const item of items) {
        const child = old.get(key(item)) ?? create(item);
        fresh.set(key(item), child);
        update(child, item);
        if (child === next) next = next.nextElementSibling;
        else parent.insertBefore(child, next);
    }
    for (const [name, child] of old) if (fresh.get(name) !== child) child.remove();
    parent.keyed = fresh;
}

/** Pairs of a term and what it is, each `[term, text, number]`; the number is null if there is none behind the text. */
export function describe(list, facts) {
    keyed(
        list,
        facts,
        ([term]) => term,
        ([term]) => {
            const shown = h("data");
            const pair = h("div", { "data-fact": term }, h("dt", {}, term), h("dd", {}, shown));
            pair.shown = shown;
            return pair;
        },
        (pair, [, text, number, level]) => {
            setNumber(pair.shown, number, text);
            setAttribute(pair, "class", level ?? null);
        },
    );
}

const ROLES = { table: "table", thead: "rowgroup", tbody: "rowgroup", tr: "row", td: "cell" };

/** An element of a table. It says what it is, because on a narrow screen it is not laid out as one. */
export const part = (tag, attributes = {}, ...children) =>
    h(tag, { role: ROLES[tag] ?? null, ...attributes }, ...children);

/** A table without rows, and its body. */
export function table(name, titles, attributes = {}) {
    const head = part("tr", {}, ...titles.map((title) => h("th", { role: "columnheader", scope: "col" }, title)));
    const body = part("tbody");
    const whole = part("table", attributes, h("caption", { class: "hidden" }, name), part("thead", {}, head), body);
    return { whole, body };
}
