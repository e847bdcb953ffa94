import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";

/**
 * useSteady keeps the order of rows while the pointer is on them or one has the
 * focus: a table must not move under the hand. New rows go to the end meanwhile.
 */
export function useSteady<T>(ideal: readonly T[], id: (item: T) => string) {
  const pointed = useSignal(false);
  const focused = useSignal(false);
  const order = useRef<string[]>([]);

  const items = new Map(ideal.map((item) => [id(item), item]));
  const want = [...items.keys()];
  const held = pointed.value || focused.value;
  if (held) {
    const kept = order.current.filter((key) => items.has(key));
    order.current = [...new Set([...kept, ...want])];
  } else {
    order.current = want;
  }
  const rows = order.current.map((key) => items.get(key)!);
  const moved = order.current.some((key, i) => key !== want[i]);
  const hold = {
    onPointerEnter: (e: PointerEvent) => (pointed.value = e.pointerType === "mouse"),
    onPointerLeave: () => (pointed.value = false),
    onFocusIn: () => (focused.value = true),
    onFocusOut: () => (focused.value = false),
  };
  return { rows, moved, hold };
}
