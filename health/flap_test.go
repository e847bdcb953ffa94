package health_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/health"
)

const (
	alive   = muster.StateAlive
	suspect = muster.StateSuspect
	dead    = muster.StateDead
)

// film shows a member to a Flap, step by step.
type film struct {
	flap  health.Flap
	now   time.Time
	shown []time.Time // of the changes
}

func newFilm() *film {
	f := &film{now: time.Unix(1000, 0)}
	f.flap, _ = f.flap.See(f.now, alive, muster.Boot{Counter: 1})
	f.now = f.now.Add(time.Hour)
	return f
}

// stay keeps a state for a while.
func (f *film) stay(state muster.State, d time.Duration) {
	for end := f.now.Add(d); f.now.Before(end); f.now = f.now.Add(250 * time.Millisecond) {
		next, changed := f.flap.See(f.now, state, muster.Boot{Counter: 1})
		if f.flap = next; changed {
			f.shown = append(f.shown, f.now)
		}
	}
}

// most returns the largest number of changes shown within a minute.
func (f *film) most() (most int) {
	for i := range f.shown {
		n := 0
		for _, t := range f.shown[i:] {
			if t.Sub(f.shown[i]) < time.Minute {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

func TestFlappingShowsAtMostFourChangesPerMinute(t *testing.T) {
	t.Parallel()
	f := newFilm()
	for range 50 { // five minutes
		f.stay(alive, 3*time.Second)
		f.stay(suspect, 1250*time.Millisecond)
		f.stay(dead, 1750*time.Millisecond)
	}
	if f.most() > 4 || f.most() < 3 {
		t.Errorf("%d changes shown within a minute, want 3 or 4", f.most())
	}
	if f.flap.Shown == alive || f.flap.Deaths(f.now) < 8 {
		t.Errorf("it is shown %s with %d deaths", f.flap.Shown, f.flap.Deaths(f.now))
	}
	f.stay(alive, 11*time.Second)
	if f.flap.Shown == alive {
		t.Error("shown as alive too early")
	}
	f.stay(alive, 2*time.Second)
	if f.flap.Shown != alive || f.flap.Held() {
		t.Errorf("shown as %s after 13 s of calm", f.flap.Shown)
	}
}

func TestFirstDeathAndReturnAreShownAtOnce(t *testing.T) {
	t.Parallel()
	f := newFilm()
	for _, state := range []muster.State{suspect, dead, alive} {
		f.stay(state, 250*time.Millisecond)
		if f.flap.Shown != state {
			t.Errorf("%s is shown as %s", state, f.flap.Shown)
		}
	}
	if f.flap.Deaths(f.now) != 0 {
		t.Error("one death is called flapping")
	}
}

func TestRestartsAreNoFlapping(t *testing.T) {
	t.Parallel()
	f := newFilm()
	for boot := range uint64(3) {
		f.stay(dead, 2*time.Second)
		next, changed := f.flap.See(f.now, alive, muster.Boot{Counter: boot + 2})
		if f.flap = next; !changed || next.Shown != alive {
			t.Fatalf("restart %d is not shown at once", boot+1)
		}
		f.now = f.now.Add(time.Second)
		f.flap, _ = f.flap.See(f.now, alive, muster.Boot{Counter: boot + 2})
		for range 8 {
			f.now = f.now.Add(250 * time.Millisecond)
			f.flap, _ = f.flap.See(f.now, alive, muster.Boot{Counter: boot + 2})
		}
	}
}

// TestADeathIsNeverHidden tries random lives.
func TestADeathIsNeverHidden(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		f := newFilm()
		for range 60 {
			state := []muster.State{alive, suspect, dead}[rng.IntN(3)]
			f.stay(state, time.Duration(1+rng.IntN(40))*250*time.Millisecond)
			if state == dead && f.flap.Shown != dead {
				t.Fatalf("seed %d: dead, and shown as %s", seed, f.flap.Shown)
			}
		}
		f.stay(alive, time.Minute)
		if f.flap.Shown != alive {
			t.Fatalf("seed %d: alive for a minute, and shown as %s", seed, f.flap.Shown)
		}
	}
}
