package storetest

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/store"
)

func firstWriteIsRevisionOne(t *testing.T, s store.Store) {
	Form(t, s)
	got := MustApply(t, s, Put("route", "demo", `{"weight":10}`))[0]
	want := muster.Change{
		Rev: 1, Op: muster.OpPut, Kind: "route", Name: "demo", Spec: json.RawMessage(`{"weight":10}`),
		Digest: config.DigestOf([]byte(`{"weight":10}`)), Generation: 1, CreatedRev: 1,
		Actor: "ann", Node: Node, Reason: "a test", At: got.At,
	}
	want.Chain = config.Next(config.Genesis(ClusterID), want)
	diff(t, "the change", want, got)
	if age := time.Since(got.At); age < -time.Minute || age > time.Minute {
		t.Errorf("written at %v", got.At)
	}
	diff(t, "the history", []muster.Change{want}, History(t, s, 10))
	diff(t, "the head", store.Head{Position: muster.Position{Epoch: 1, Rev: 1, Chain: want.Chain}, Items: 1}, head(t, s))
}

func compareAndSetOutcomes(t *testing.T, s store.Store) {
	Form(t, s)
	expecting := func(w store.Write, rev int64) store.Write {
		w.Expect = rev
		return w
	}
	for i, step := range []struct {
		write   store.Write
		code    muster.Code
		current int64 // revision on record that a refusal shows, 0 = none
	}{
		{expecting(Put("route", "a", `0`), 1), muster.CodeConflict, 0},
		{expecting(Put("route", "a", `1`), 0), "", 0},                      // revision 1
		{expecting(Put("route", "a", `2`), 0), muster.CodeConflict, 1},     // exists already
		{expecting(Put("route", "a", `2`), 7), muster.CodeConflict, 1},     // never was
		{expecting(Put("route", "a", `2`), 1), "", 0},                      // revision 2
		{expecting(Put("route", "a", `3`), 1), muster.CodeConflict, 2},     // stale
		{Put("route", "a", `3`), "", 0},                                    // revision 3
		{Put("route", "b", `3`), "", 0},                                    // revision 4
		{expecting(Put("Route", "a", `1`), 3), muster.CodeConflict, 0},     // kinds are exact
		{expecting(Delete("route", "a"), 2), muster.CodeConflict, 3},       // stale
		{expecting(Delete("route", "a"), 0), muster.CodeConflict, 3},       // is there
		{expecting(Delete("route", "a"), 3), "", 0},                        // revision 5
		{expecting(Delete("route", "a"), 3), muster.CodeNotFound, 0},       // gone
		{Delete("route", "a"), muster.CodeNotFound, 0},                     // gone
		{expecting(Put("route", "a", `6`), 5), muster.CodeConflict, 0},     // a deletion is no document
		{expecting(Put("route", "a", `6`), 0), "", 0},                      // revision 6
		{Delete("route", "b"), "", 0},                                      // revision 7
		{expecting(Put("route", "a", `7`), -2), muster.CodeBadDocument, 0}, // no such expectation
	} {
		o := Apply(t, s, step.write)[0]
		if code(o) != step.code {
			t.Fatalf("step %d: got %v, want %q", i, o.Err, step.code)
		}
		if got := revOf(o.Current); got != step.current {
			t.Errorf("step %d: the refusal shows revision %d, want %d", i, got, step.current)
		}
	}
	h := head(t, s)
	if h.Rev != 7 || h.Items != 1 {
		t.Errorf("got revision %d with %d documents, want 7 with 1", h.Rev, h.Items)
	}
	history := History(t, s, 3)
	doc := snapshot(t, s).Documents[0]
	if doc.Generation != 1 || doc.CreatedRev != 6 || history[4].Generation != 4 || history[4].CreatedRev != 1 {
		t.Errorf("recreated as %+v after %+v", doc, history[4])
	}
}

func revOf(doc *muster.Document) int64 {
	if doc == nil {
		return 0
	}
	return doc.Rev
}

func oneOfManyCreatorsWins(t *testing.T, s store.Store) {
	Form(t, s)
	var won, lost atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			w := Put("route", "a", strconv.Itoa(i))
			w.Expect = 0
			outcomes, err := s.Apply(t.Context(), []store.Write{w})
			switch {
			case err != nil:
				t.Errorf("creator %d: %v", i, err)
			case outcomes[0].Err == nil:
				won.Add(1)
			case outcomes[0].Err.Code == muster.CodeConflict && revOf(outcomes[0].Current) == 1:
				lost.Add(1)
			default:
				t.Errorf("creator %d: %+v", i, outcomes[0])
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 15 || head(t, s).Rev != 1 {
		t.Errorf("%d won, %d lost, head %v", won.Load(), lost.Load(), head(t, s))
	}
}

func poisonTouchesNoNeighbour(t *testing.T, s store.Store) {
	Form(t, s)
	poisons := map[string]struct {
		write store.Write
		code  muster.Code
	}{
		"not JSON":           {Put("route", "p", `{"a":`), muster.CodeBadDocument},
		"nothing":            {Put("route", "p", ``), muster.CodeBadDocument},
		"a NUL":              {Put("route", "p", `"\u0000"`), muster.CodeBadDocument},
		"half a surrogate":   {Put("route", "p", `"\ud800"`), muster.CodeBadDocument},
		"invalid UTF-8":      {Put("route", "p", "\"\xff\""), muster.CodeBadDocument},
		"a number too large": {Put("route", "p", `1e999999`), muster.CodeBadDocument},
		"too large":          {Put("route", "p", `"`+strings.Repeat("x", muster.MaxSpec)+`"`), muster.CodeTooLarge},
		"a bad name":         {Put("route", "a/b", `1`), muster.CodeBadDocument},
		"a bad kind":         {Put("", "p", `1`), muster.CodeBadDocument},
		"an unknown op":      {store.Write{Op: 9, Kind: "route", Name: "p", Expect: store.Any}, muster.CodeBadDocument},
	}
	actor := Put("route", "p", `1`)
	actor.Actor = "a\x00b"
	reason := Put("route", "p", `1`)
	reason.Reason = "\xff"
	writes := []store.Write{Put("route", "first", `1`), actor, reason}
	want := []muster.Code{"", muster.CodeBadDocument, muster.CodeBadDocument}
	for _, p := range poisons {
		writes = append(writes, p.write, Put("route", "between", strconv.Itoa(len(writes))))
		want = append(want, p.code, "")
	}
	var got []muster.Code
	for _, o := range Apply(t, s, writes...) {
		got = append(got, code(o))
	}
	diff(t, "the codes", want, got)
	if rev := head(t, s).Rev; rev != int64(len(poisons))+1 || len(History(t, s, 100)) != int(rev) {
		t.Errorf("got revision %d, want %d", rev, len(poisons)+1)
	}
}

func batchSeesItsOwnWrites(t *testing.T, s store.Store) {
	Form(t, s)
	create, replace, stale := Put("route", "a", `1`), Put("route", "a", `2`), Put("route", "a", `3`)
	create.Expect, replace.Expect, stale.Expect = 0, 1, 1
	outcomes := Apply(t, s, create, replace, stale, Delete("route", "a"), Delete("route", "a"), create)
	var got []muster.Code
	for _, o := range outcomes {
		got = append(got, code(o))
	}
	diff(t, "the codes", []muster.Code{"", "", muster.CodeConflict, "", muster.CodeNotFound, ""}, got)
	if revOf(outcomes[2].Current) != 2 || head(t, s).Rev != 4 || len(History(t, s, 2)) != 4 {
		t.Errorf("the stale write saw %+v, the head is %v", outcomes[2].Current, head(t, s))
	}
}

func groupIsAllOrNone(t *testing.T, s store.Store) {
	Form(t, s)
	in := func(group string, w store.Write) store.Write {
		w.Group = group
		return w
	}
	late := Put("route", "a", `9`)
	late.Expect = 0
	outcomes := Apply(t, s,
		in("one", Put("route", "a", `1`)), in("one", Put("route", "b", `1`)), // applied
		in("two", Put("route", "b", `2`)), in("two", late), in("two", Put("route", "c", `2`)), // refused by its second
		Put("route", "d", `3`),                                                 // a neighbour
		in("three", Put("route", "e", `1`)), in("three", Delete("route", "e")), // sees itself
		in("four", Put("route", "f", `nothing`)), in("four", Put("route", "f", `1`)))
	var got []muster.Code
	for _, o := range outcomes {
		got = append(got, code(o))
	}
	diff(t, "the codes", []muster.Code{
		"", "", muster.CodeConflict, muster.CodeConflict, muster.CodeConflict, "", "", "", muster.CodeBadDocument, muster.CodeBadDocument,
	}, got)
	if revOf(outcomes[3].Current) != 1 || outcomes[2].Current != nil || !strings.Contains(outcomes[2].Err.Text, "route/a") {
		t.Errorf("got %+v and %+v", outcomes[2], outcomes[3])
	}
	snap := Replay(t, History(t, s, 100))
	diff(t, "the documents", snapshot(t, s).Documents, snap.List(""))
	if h := head(t, s); h.Rev != 5 || h.Items != 3 {
		t.Errorf("got revision %d with %d documents, want 5 with 3", h.Rev, h.Items)
	}
}

func requestIsAppliedOnce(t *testing.T, s store.Store) {
	Form(t, s)
	w := Put("route", "a", `1`)
	w.Expect, w.RequestID = 0, "11111111-1111-4111-8111-111111111111"
	first := Apply(t, s, w)[0]
	if first.Repeated {
		t.Error("the first outcome is marked as repeated")
	}
	MustApply(t, s, Put("route", "a", `2`))
	again := w
	again.Spec = json.RawMessage(`"another body"`)
	gone := Delete("route", "a")
	gone.RequestID = "22222222-2222-4222-8222-222222222222"
	outcomes := Apply(t, s, again, gone, gone, w)
	for i, want := range []struct {
		rev      int64
		repeated bool
	}{{1, true}, {3, false}, {3, true}, {1, true}} {
		if o := outcomes[i]; o.Err != nil || o.Change.Rev != want.rev || o.Repeated != want.repeated {
			t.Errorf("write %d: got %+v, want revision %d, repeated %v", i, o, want.rev, want.repeated)
		}
	}
	diff(t, "the first outcome again", first.Change, outcomes[3].Change)
	if rev := head(t, s).Rev; rev != 3 {
		t.Errorf("got revision %d, want 3", rev)
	}
}

func refusedRequestMayComeAgain(t *testing.T, s store.Store) {
	Form(t, s)
	w := Put("route", "a", `1`)
	w.Expect, w.RequestID = 1, muster.NewUUID()
	if o := Apply(t, s, w)[0]; code(o) != muster.CodeConflict {
		t.Fatalf("got %+v", o)
	}
	w.Expect = 0
	if o := Apply(t, s, w)[0]; o.Err != nil || o.Repeated || o.Change.RequestID != w.RequestID {
		t.Errorf("got %+v", o)
	}
}

func specComesBackByteIdentical(t *testing.T, s store.Store) {
	Form(t, s)
	specs := []string{
		`{"a":1e2,"b":1.0,"c":100,"d":9007199254740993,"e":0.10,"f":-0}`,
		`"\"\\\b\f\n\r\t\u0001` + "\x7f é 😀 \u2028 <&> 'quoted' $1 ? :name" + `"`,
		`{"":{"":[]}," ":null,"é":true}`,
		`null`, `false`, `0`, `""`, `[]`, `{}`,
		`1e9999`, `-1e-9999`, strings.Repeat("9", 128),
		`"` + strings.Repeat("x", muster.MaxSpec-2) + `"`,
		strings.Repeat("[", config.MaxDepth) + strings.Repeat("]", config.MaxDepth),
	}
	for i, spec := range specs {
		canonical, err := config.Canonical([]byte(spec))
		if err != nil || string(canonical) != spec {
			t.Fatalf("%.80s is not canonical: %v", spec, err)
		}
		change := MustApply(t, s, Put("spec", strconv.Itoa(i), spec))[0]
		if string(change.Spec) != spec {
			t.Errorf("%.80s: the outcome holds %.80s", spec, change.Spec)
		}
	}
	docs := snapshot(t, s).Documents
	byName := map[string]string{}
	for _, doc := range docs {
		byName[doc.Name] = string(doc.Spec)
	}
	for i, c := range History(t, s, 100) {
		if string(c.Spec) != specs[i] || byName[c.Name] != specs[i] {
			t.Errorf("%.80s: the log holds %.80s, the snapshot %.80s", specs[i], c.Spec, byName[c.Name])
		}
	}
}

func envelopeComesBack(t *testing.T, s store.Store) {
	Form(t, s)
	MustApply(t, s, Put("route", "a", `1`))
	w := Put("route", "a", `2`)
	w.Actor, w.Reason, w.RequestID = "ann (é)", "because 'x';\n--", muster.NewUUID()
	change := MustApply(t, s, w)[0]
	want := muster.Document{
		Kind: "route", Name: "a", Spec: json.RawMessage(`2`), Rev: 2, Generation: 2, CreatedRev: 1,
		UpdatedAt: change.At, UpdatedBy: w.Actor, Reason: w.Reason,
	}
	stale := Put("route", "a", `3`)
	stale.Expect = 1
	diff(t, "the document of a conflict", &want, Apply(t, s, stale)[0].Current)
	diff(t, "the document of the snapshot", []muster.Document{want}, snapshot(t, s).Documents)
	diff(t, "the change of the log", change, History(t, s, 100)[1])
	if change.RequestID != w.RequestID || change.Node != Node {
		t.Errorf("got %+v", change)
	}
}
