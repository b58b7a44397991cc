// Numbers as people read them: binary units, three digits, a dash for what is not known. Pure.

export const DASH = "–";

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** Digits are grouped by a narrow space that does not break. */
const GROUP = "\u202f";
/** A number and its unit stay on one line. */
const NEXT_TO = "\u00a0";

const known = (number) => typeof number === "number" && Number.isFinite(number);

/** Three significant digits, of what is below 1024. */
function digits(number) {
    const size = Math.abs(number);
    if (size < 9.995) return number.toFixed(2);
    return number.toFixed(size < 99.95 ? 1 : 0);
}

/** Bytes with a binary unit: `0 B`, `4.00 KiB`, `1.50 TiB`. */
export function bytes(number) {
    if (!known(number)) return DASH;
    let unit = 0;
    let rest = number;
    while (Math.abs(rest) >= 1023.5 && unit < BYTE_UNITS.length - 1) {
        rest /= 1024;
        unit += 1;
    }
    return (unit === 0 ? String(Math.round(rest)) : digits(rest)) + NEXT_TO + BYTE_UNITS[unit];
}

/** A size that somebody chose, without the zeros behind the point: `10 GiB`. */
export const size = (number) => bytes(number).replace(/(?:\.|(\.\d*?))0+(?=\u00a0)/, "$1");

export const bytesPerSecond = (number) => (known(number) ? `${bytes(number)}/s` : DASH);

/** A whole number, its digits in groups of three. */
export function count(number) {
    if (!known(number)) return DASH;
    return Math.round(number)
        .toString()
        .replace(/\B(?=(\d{3})+$)/g, GROUP);
}

/** Events in a second. */
export function perSecond(number) {
    if (!known(number)) return DASH;
    return number > 0 && number < 9.95 ? number.toFixed(1) : count(number);
}

/** The same, with its unit. */
export const events = (number) => (known(number) ? `${perSecond(number)}/s` : DASH);

/** Seconds, from microseconds to days. */
export function duration(seconds) {
    if (!known(seconds)) return DASH;
    if (seconds === 0) return `0${NEXT_TO}s`;
    if (seconds < 0.0000005) return `<${NEXT_TO}1${NEXT_TO}µs`;
    if (seconds < 0.0009995) return `${Math.round(seconds * 1e6)}${NEXT_TO}µs`;
    if (seconds < 0.9995) return `${digits(seconds * 1e3)}${NEXT_TO}ms`;
    if (seconds < 9.95) return `${seconds.toFixed(1)}${NEXT_TO}s`;
    return age(seconds);
}

/** Seconds, for what changes slowly: `12 s`, `3 min`, `4 h 10 min`, `9 d 4 h`. */
export function age(seconds) {
    if (!known(seconds)) return DASH;
    const whole = Math.max(0, Math.round(seconds));
    const two = (large, largeUnit, small, smallUnit) =>
        small === 0
            ? `${large}${NEXT_TO}${largeUnit}`
            : `${large}${NEXT_TO}${largeUnit} ${small}${NEXT_TO}${smallUnit}`;
    if (whole < MINUTE) return `${whole}${NEXT_TO}s`;
    if (whole < HOUR) return two(Math.floor(whole / MINUTE), "min", whole < 10 * MINUTE ? whole % MINUTE : 0, "s");
    if (whole < DAY) return two(Math.floor(whole / HOUR), "h", Math.floor((whole % HOUR) / MINUTE), "min");
    return two(Math.floor(whole / DAY), "d", Math.floor((whole % DAY) / HOUR), "h");
}

/** A share of one, never rounded to none or to all of it. */
export function percent(share) {
    if (!known(share)) return DASH;
    if (share > 0 && share < 0.01) return `<${NEXT_TO}1${NEXT_TO}%`;
    if (share > 0.99 && share < 1) return `>${NEXT_TO}99${NEXT_TO}%`;
    return `${Math.round(share * 100)}${NEXT_TO}%`;
}

/** The share of a part, or null if it cannot be known. */
export const shareOf = (part, whole) => (known(part) && whole > 0 ? part / whole : null);

/** An amount of money, and what it is in. */
export function money(amount, currency) {
    if (!known(amount)) return DASH;
    const shown = amount > 0 && amount < 0.005 ? `<${NEXT_TO}0.01` : amount.toFixed(2);
    return `${shown}${NEXT_TO}${currency}`;
}

const two = (number) => String(number).padStart(2, "0");

/** The time of day where the reader is. */
export function clock(unixSeconds) {
    const date = new Date(unixSeconds * 1000);
    return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Day and minute where the reader is. */
export function moment(unixSeconds) {
    if (!known(unixSeconds)) return DASH;
    const date = new Date(unixSeconds * 1000);
    const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
    return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** A name from outside: what would not be seen, or would turn the line around, is spelled out. */
export function visible(name) {
    return name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
        const code = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
        return `\u27e8U+${code}\u27e9`;
    });
}
