package muster_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

func TestEventCursorsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	const text = "11111111.4.17,22222222.1.18446744073709551615"
	c, err := muster.ParseEventCursor(text)
	if err != nil || c.String() != text {
		t.Fatalf("got %s, %v", c, err)
	}
	c.Advance(muster.EventID{Node: "11111111", Boot: 3, Seq: 99})
	if c.String() != text {
		t.Errorf("moved back to %s", c)
	}
	c.Advance(muster.EventID{Node: "11111111", Boot: 5, Seq: 1})
	c.Advance(muster.EventID{})
	if got := c.String(); got != "11111111.5.1,22222222.1.18446744073709551615" {
		t.Errorf("moved to %s", got)
	}
	for _, bad := range []string{",", "x", "1.2.3", "11111111.1", "11111111.1.-1", "11111111.1.1,"} {
		if c, err := muster.ParseEventCursor(bad); err == nil {
			t.Errorf("%q is read as %s", bad, c)
		}
	}
}

func TestClockTextSortsLikeTheClock(t *testing.T) {
	t.Parallel()
	early, late := muster.ClockAt(time.UnixMilli(999)), muster.ClockAt(time.UnixMilli(1700000000123))
	if early.String() >= late.String() || late.Time().UnixMilli() != 1700000000123 {
		t.Errorf("%s and %s, %s", early, late, late.Time())
	}
	text, err := json.Marshal(late + 1)
	var back muster.Clock
	if err != nil || json.Unmarshal(text, &back) != nil || back != late+1 {
		t.Errorf("%s became %s, %v", text, back, err)
	}
	if json.Unmarshal([]byte(`"1"`), &back) == nil {
		t.Error("a short clock value is read")
	}
}
