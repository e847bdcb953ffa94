/**
 * pretty indents JSON text without reading it as numbers: 9007199254740993 and
 * 1.10 stay as they were written.
 */
export function pretty(json: string): string {
  let out = "";
  let depth = 0;
  const line = () => "\n" + "  ".repeat(depth);
  for (const [token] of json.matchAll(/"(?:\\.|[^"\\])*"|[{[]\s*[}\]]|[^\s"{}[\],:]+|[{}[\],:]/g)) {
    if (token === "{" || token === "[") (depth++, (out += token + line()));
    else if (token === "}" || token === "]") (depth--, (out += line() + token));
    else if (token === ",") out += "," + line();
    else if (token === ":") out += ": ";
    else out += token;
  }
  return out;
}
