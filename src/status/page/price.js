// What a disk costs in a month, and what of it for what.

import { h, keyed, setNumber, setText } from "./dom.js";
import { age, money } from "./format.js";

/** Shades for parts; what is beyond them shares the last one. */
const SHADES = 5;

export class Price {
    constructor() {
        this.total = h("data", { class: "price" });
        this.per = h("span", { class: "note" }, " per month");
        this.bar = h("div", { class: "stack", "aria-hidden": "true" });
        this.parts = h("ul", { class: "parts" });
        this.note = h("p", { class: "note" });
        this.element = h("div", {}, h("p", {}, this.total, this.per), this.bar, this.parts, this.note);
        this.show(null);
    }

    show(cost) {
        this.total.parentNode.hidden = this.bar.hidden = this.parts.hidden = !cost;
        if (!cost) return setText(this.note, "Not known, or the storage has no price.");
        setNumber(this.total, cost.per_month, money(cost.per_month, cost.currency));
        const parts = [...cost.parts]
            .sort((a, b) => b.amount - a.amount)
            .map((item, at) => ({ ...item, shade: Math.min(at, SHADES - 1) }));
        this.bar.hidden = !parts.some(({ amount }) => amount > 0);
        keyed(
            this.bar,
            parts,
            ({ name }) => name,
            () => h("i"),
            (share, { amount, shade }) => {
                share.className = `part-${shade}`;
                share.style.flexGrow = Math.max(0, amount ?? 0);
            },
        );
        keyed(
            this.parts,
            parts,
            ({ name }) => name,
            newPart,
            (item, { name, amount, shade }) => {
                item.shown.key.className = `key part-${shade}`;
                setText(item.shown.name, name);
                setNumber(item.shown.amount, amount, money(amount, cost.currency));
            },
        );
        const counted = `At the prices of ${cost.provider}, requests as counted in ${age(cost.over_seconds)}`;
        setText(this.note, `${counted}${cost.note ? ` (${cost.note})` : ""}.`);
    }
}

function newPart() {
    const shown = { key: h("i"), name: h("span"), amount: h("data") };
    const item = h("li", {}, shown.key, shown.name, shown.amount);
    item.shown = shown;
    return item;
}
