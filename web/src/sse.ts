/** Message is one event of a text/event-stream. */
export interface Message {
  id: string;
  event: string;
  data: string;
}

/** parser turns pieces of text, cut anywhere, into messages. */
export function parser(emit: (m: Message) => void): (chunk: string) => void {
  let rest = "";
  let message: Message = { id: "", event: "", data: "" };

  const line = (text: string) => {
    if (text === "") {
      if (message.data) emit({ ...message, data: message.data.slice(1), event: message.event || "message" });
      message = { id: message.id, event: "", data: "" };
      return;
    }
    const colon = text.indexOf(":");
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(colon + 1).replace(/^ /, "");
    if (field === "data") message.data += "\n" + value;
    else if (field === "event") message.event = value;
    else if (field === "id") message.id = value;
  };

  return (chunk) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop()!;
    for (const l of lines) line(l.endsWith("\r") ? l.slice(0, -1) : l);
  };
}
