// Where the bytes of a disk are: what of it is allocated, and what of each segment of its log is still live.

import { h, setText } from "./dom.js";
import { bytes, count, percent, size } from "./format.js";
import { CellMap } from "./cellmap.js";

const IDLE = "Point at a cell, or choose the map and use the arrow keys.";

export class Space {
    constructor() {
        this.allocation = new CellMap("allocated", "Allocated", { none: "none", all: "all", idle: IDLE });
        this.segments = new CellMap("live", "Segments, oldest first", {
            none: "garbage",
            all: "live",
            mark: "pinned by a snapshot",
            idle: "",
        });
        this.unknown = h("p", { class: "note" });
        this.element = h(
            "section",
            { class: "panel" },
            h("h3", {}, "Space"),
            h("div", { class: "pair" }, this.allocation.element, this.segments.element),
            this.unknown,
        );
        this.show({ allocation: null, segments: null });
    }

    show({ allocation, segments }) {
        this.allocation.element.hidden = !allocation?.cells.length;
        this.segments.element.hidden = !segments?.shown.length;
        setText(this.unknown, allocation ? "" : "What is allocated is not known.");
        this.unknown.hidden = Boolean(allocation);
        if (allocation?.cells.length) this.#allocation(allocation);
        if (segments?.shown.length) this.#segments(segments);
    }

    #allocation({ cells, cell_bytes, allocated_bytes, estimated }) {
        const tell = (share, at) => () =>
            `${size(at * cell_bytes)} to ${size((at + 1) * cell_bytes)}: ${percent(share)} allocated`;
        const summary = `${estimated ? "about " : ""}${bytes(allocated_bytes)} allocated; a cell is ${size(cell_bytes)}.`;
        this.allocation.show(
            cells.map((share, at) => ({ share, marked: false, tell: tell(share, at) })),
            summary,
        );
    }

    #segments({ total, shown }) {
        const all = shown.reduce((sum, segment) => sum + segment.bytes, 0);
        const live = shown.reduce((sum, segment) => sum + segment.bytes * segment.live, 0);
        const tell = (segment) => () => {
            const which =
                segment.joined > 1 ? `${count(segment.joined)} segments from ${segment.id}` : `segment ${segment.id}`;
            return `${which}: ${bytes(segment.bytes)}, ${percent(segment.live)} live${segment.pinned ? ", pinned" : ""}`;
        };
        const summary = `${count(total)} ${total === 1 ? "segment" : "segments"} of ${bytes(all)}, ${percent(all > 0 ? live / all : null)} live.`;
        this.segments.show(
            shown.map((segment) => ({ share: segment.live, marked: segment.pinned, tell: tell(segment) })),
            summary,
        );
    }
}
