import type { ComponentChildren } from "preact";

// Each glyph has an outline of its own, so that states differ without colour.
// They are drawn here: symbol fonts show boxes where a font is missing.
const glyph = (shape: ComponentChildren) => () => (
  <svg class="glyph" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round">
    {shape}
  </svg>
);

export const Check = glyph(<><circle cx="8" cy="8" r="6.2" /><path d="m5.3 8.2 1.9 1.9 3.5-3.9" /></>);
export const Warning = glyph(<><path d="M8 2.2 14.3 13H1.7z" /><path d="M8 6.5v3M8 11.3v.01" /></>);
export const Cross = glyph(<><path d="M5.4 1.9h5.2l3.5 3.5v5.2l-3.5 3.5H5.4l-3.5-3.5V5.4z" /><path d="m6 6 4 4m0-4-4 4" /></>);
export const Question = glyph(<><path d="m8 1.4 6.6 6.6L8 14.6 1.4 8z" /><path d="M6.7 6.7c0-.8.6-1.3 1.3-1.3s1.3.5 1.3 1.2C9.3 7.6 8 7.7 8 8.7M8 10.6v.01" /></>);
export const Drain = glyph(<><path d="M8 2v7.5M4.8 6.5 8 9.7l3.2-3.2M2.5 13.5h11" /></>);
export const Exit = glyph(<><path d="M6.5 2.5h-4v11h4M6.5 8h7M10.8 5.3 13.5 8l-2.7 2.7" /></>);
export const Ban = glyph(<><circle cx="8" cy="8" r="6.2" /><path d="m3.7 3.7 8.6 8.6" /></>);
export const Broken = glyph(<><circle cx="8" cy="8" r="6.2" /><path d="M5.2 8h5.6" /></>);
export const Pen = glyph(<path d="M10.5 2.5 13.5 5.5 5.5 13.5H2.5v-3zM8.8 4.2l3 3" />);
export const Dot = glyph(<circle cx="8" cy="8" r="2.6" fill="currentColor" stroke="none" />);
export const Join = glyph(<><path d="M9.5 2.5h4v11h-4M2.5 8h7M6.8 5.3 9.5 8l-2.7 2.7" /></>);
export const Store = glyph(<><ellipse cx="8" cy="4" rx="5.2" ry="2.1" /><path d="M2.8 4v8c0 1.2 2.3 2.1 5.2 2.1s5.2-.9 5.2-2.1V4M2.8 8c0 1.2 2.3 2.1 5.2 2.1s5.2-.9 5.2-2.1" /></>);
export const Copy = glyph(<><rect x="5.5" y="5.5" width="8" height="8" rx="1.5" /><path d="M10.5 5.5V3.5a1 1 0 0 0-1-1h-6a1 1 0 0 0-1 1v6a1 1 0 0 0 1 1h2" /></>);
export const Arrow = glyph(<path d="M3 8h9.5M8.8 4.3 12.5 8l-3.7 3.7" />);
export const Chevron = glyph(<path d="m6 3.5 4.5 4.5L6 12.5" />);
export const Sun = glyph(<><circle cx="8" cy="8" r="2.8" /><path d="M8 1.5v1.3M8 13.2v1.3M1.5 8h1.3M13.2 8h1.3M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9" /></>);
export const Moon = glyph(<path d="M13.5 9.6A6 6 0 0 1 6.4 2.5a6 6 0 1 0 7.1 7.1z" />);
export const Auto = glyph(<><circle cx="8" cy="8" r="6" /><path d="M8 2a6 6 0 0 1 0 12z" fill="currentColor" stroke="none" /></>);

/** Logo is three nodes that see each other. */
export const Logo = () => (
  <svg class="logo" viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
    <rect width="32" height="32" rx="8" />
    <path d="M16 9.5 9 21.5h14z" />
    <circle cx="16" cy="9.5" r="3.6" />
    <circle cx="9" cy="21.5" r="3.6" />
    <circle cx="23" cy="21.5" r="3.6" />
  </svg>
);
