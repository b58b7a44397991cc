// The page: asks the gateway again and again, and shows what it says. A gateway that does not answer is asked again, one
// that was started again is begun with anew, and while nobody looks nothing is asked.

import { Clients } from "./status/clients.js";
import { Detail } from "./status/detail.js";
import { describe, find, placeOf, setAttribute, setText } from "./status/dom.js";
import { age, bytes, clock, count, DASH } from "./status/format.js";
import { Overview } from "./status/overview.js";
import { History } from "./status/rates.js";

const STATUS_MS = 2000;
const EXPORT_MS = 15000;
/** Time for one answer. */
const PATIENCE_MS = 8000;

const history = new History();
const overview = new Overview();
const clients = new Clients();
let detail = null;
let last = null;
let answeredAt = null;
let version = null;
let taken = null;
let timer = null;
let asking = false;
let takenTimer = null;

async function ask(place) {
    const response = await fetch(place, {
        cache: "no-store",
        credentials: "same-origin",
        signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (!response.ok) throw new Error(`it answers ${response.status}`);
    return response.json();
}

/** One look at the gateway, and the next one after it. */
async function look() {
    clearTimeout(timer);
    if (asking || document.hidden) return;
    asking = true;
    try {
        answered(await ask("status.json"));
    } catch (error) {
        silent(error);
    } finally {
        asking = false;
        clearTimeout(timer);
        timer = setTimeout(look, STATUS_MS);
    }
}

function answered(status) {
    // Another version may say other things: its own page knows them.
    if (version !== null && version !== status.gateway.version) return location.reload();
    version = status.gateway.version;
    answeredAt = Date.now() / 1000;
    last = status;
    history.add(status);
    find("silence").hidden = true;
    document.body.classList.remove("stale");
    find("main").hidden = false;
    setText(find("answered"), `Answered at ${clock(answeredAt)}.`);
    show();
}

function silent(error) {
    document.body.classList.add("stale");
    const line = find("silence");
    line.hidden = false;
    const reason = error.message.startsWith("it answers") ? ` (${error.message})` : "";
    const since = answeredAt === null ? "No answer yet" : `No answer since ${clock(answeredAt)}`;
    setText(
        line,
        `${since}${reason}. ${answeredAt === null ? "" : "What is shown is from then. "}This page goes on asking.`,
    );
    setText(find("state"), "no answer");
    setAttribute(find("state"), "class", "pill bad");
    document.title = "no answer · nbdgate";
}

const LEVELS = { serving: "good", starting: "warn", stopping: "warn" };

function show() {
    const { gateway } = last;
    setText(find("state"), gateway.state);
    setAttribute(find("state"), "class", `pill ${LEVELS[gateway.state] ?? "warn"}`);
    const cores = history.cores();
    const up = gateway.started_unix_seconds === null ? null : gateway.now_unix_seconds - gateway.started_unix_seconds;
    describe(find("facts"), [
        ["version", gateway.version, null],
        ["up", age(up), gateway.started_unix_seconds],
        ["I/O", `${gateway.io_engine ?? DASH} × ${count(gateway.io_threads)}`, gateway.io_threads],
        ["memory", bytes(gateway.resident_bytes), gateway.resident_bytes],
        ["cores in use", cores === null ? DASH : cores.toFixed(2), cores],
    ]);
    const troubled = overview.show(last, history);
    document.title = troubled > 0 ? `(${troubled}) nbdgate` : "nbdgate";
    choose();
    detail?.show(last, history);
    if (taken) detail?.showTaken(taken, null, gateway.now_unix_seconds);
    clients.show(last, detail?.name ?? null);
}

/** The export that the place of the page names, or the only one there is; null for none. */
function chosen() {
    const found = /^#export=(.*)$/s.exec(location.hash);
    if (found) {
        try {
            return decodeURIComponent(found[1]);
        } catch {
            return null;
        }
    }
    return last?.exports.length === 1 ? last.exports[0].name : null;
}

function choose() {
    const name = chosen();
    const alone = name !== null && last?.exports.length === 1 && last.exports[0].name === name;
    find("overview").hidden = name !== null;
    find("detail").hidden = name === null;
    if (name !== (detail?.name ?? null)) {
        taken = null;
        detail = name === null ? null : new Detail(find("detail"), name);
        if (!detail) find("detail").replaceChildren();
        lookCloser();
    }
    detail?.alone(alone);
}

/** The dearer look at the one export that is shown. */
async function lookCloser() {
    clearTimeout(takenTimer);
    const wanted = detail;
    if (!wanted || document.hidden) return;
    let failure = null;
    try {
        const answer = await ask(`status/export.json?name=${encodeURIComponent(wanted.name)}`);
        if (wanted === detail) taken = answer;
    } catch (error) {
        failure = error.message.startsWith("it answers")
            ? `No newer ones: ${error.message}.`
            : "No newer ones: no answer.";
    }
    if (wanted !== detail) return;
    wanted.showTaken(taken, failure, last?.gateway.now_unix_seconds ?? null);
    clearTimeout(takenTimer);
    takenTimer = setTimeout(lookCloser, EXPORT_MS);
}

addEventListener("hashchange", () => {
    if (!last) return;
    show();
    scrollTo(0, 0);
    if (detail && location.hash === placeOf(detail.name)) detail.title.focus({ preventScroll: true });
    else find("main").focus({ preventScroll: true });
});
document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
        clearTimeout(timer);
        clearTimeout(takenTimer);
        return;
    }
    look();
    lookCloser();
});
look();
