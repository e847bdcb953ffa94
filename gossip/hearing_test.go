package gossip_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/gossip"
)

const probe = 250 * time.Millisecond

// listener hears from a start on; its clock is what the test says.
type listener struct {
	gossip.Ears
	now time.Time
}

func newListener() *listener {
	l := &listener{gossip.NewEars(probe), time.Unix(1000, 0)}
	l.Begin(l.now)
	return l
}

func (l *listener) pass(d time.Duration) { l.now = l.now.Add(d) }

// probes asks members one after the other; those that answer do so in time.
func (l *listener) probes(answer bool, members ...muster.NodeID) {
	for _, id := range members {
		l.Asked(id, l.now)
		if answer {
			l.pass(time.Millisecond)
			l.Heard(l.now)
			l.Answered(id, l.now)
		}
		l.pass(probe)
		if !answer {
			l.Missed(id, l.now)
		}
	}
}

func TestANodeThatHearsOthersMayAccuse(t *testing.T) {
	t.Parallel()
	l := newListener()
	l.pass(time.Minute) // the first word ends a silence
	l.probes(true, "a", "b", "c")
	l.pass(3 * time.Second)
	l.probes(true, "a", "b", "c")
	l.pass(probe)
	for range 16 {
		l.probes(true, "a", "b", "c")
	}
	l.probes(false, "d")
	l.Heard(l.now) // a nack
	if !l.MayAccuse("d", l.now) {
		t.Error("a node that hears three others may not accuse the fourth")
	}
}

func TestADeafNodeMayNotAccuse(t *testing.T) {
	t.Parallel()
	l := newListener()
	for range 8 {
		l.probes(true, "a", "b", "c")
	}
	l.probes(false, "a")
	if l.MayAccuse("a", l.now) {
		t.Error("nothing was heard since the member was asked, yet it may be accused")
	}
	l.probes(false, "b", "c", "a", "b", "c", "a", "b", "c")
	l.Heard(l.now)
	if l.MayAccuse("a", l.now) {
		t.Error("right after a silence members may be accused")
	}
	for range 8 {
		l.probes(true, "a", "b", "c")
	}
	l.probes(false, "d")
	l.Heard(l.now)
	if !l.MayAccuse("d", l.now) {
		t.Error("a node that has recovered may not accuse")
	}
}

func TestANodeThatLosesHalfOfItsProbesMayNotAccuse(t *testing.T) {
	t.Parallel()
	l := newListener()
	for range 5 {
		l.probes(true, "a")
		l.probes(false, "b")
		l.probes(true, "c")
		l.probes(false, "d")
		l.probes(true, "e")
		l.probes(false, "f")
	}
	l.Heard(l.now)
	if l.MayAccuse("b", l.now) {
		t.Error("half of all probes to many members are lost, and it may accuse")
	}
	l.pass(20 * time.Second) // holds all dead, and probes nobody
	l.Heard(l.now)
	l.pass(4 * time.Second)
	l.Heard(l.now)
	l.pass(time.Second)
	l.Heard(l.now)
	l.pass(3 * time.Second)
	l.Heard(l.now)
	if l.MayAccuse("b", l.now) {
		t.Error("it may accuse because it has ceased to probe")
	}
	if h, _ := l.State(l.now, 6, func(muster.NodeID) bool { return false }); h != gossip.HearingLate {
		t.Errorf("it hears %s, want late", h)
	}
}

func TestRefusedConnectionsAreNoSilence(t *testing.T) {
	t.Parallel()
	l := newListener()
	l.probes(true, "a", "b")
	l.probes(false, "a", "b")
	l.pass(time.Minute)
	if h, _ := l.State(l.now, 2, func(muster.NodeID) bool { return false }); h != gossip.HearingNone {
		t.Errorf("two silent members of two: hears %s, want none", h)
	}
	if h, _ := l.State(l.now, 2, func(id muster.NodeID) bool { return id == "a" }); h != gossip.HearingWell {
		t.Errorf("one of them refuses connections: hears %s, want well", h)
	}
}

func TestOnlyOwnAccusationsAreHeldBack(t *testing.T) {
	t.Parallel()
	message := func(kind byte, node, from string) []byte {
		b := append([]byte{kind, 0x83}, "\xabIncarnation\x01\xa4Node"...)
		b = append(append(b, 0xa0|byte(len(node))), node...)
		b = append(b, "\xa4From"...)
		return append(append(b, 0xa0|byte(len(from))), from...)
	}
	compound := func(parts ...[]byte) []byte {
		b := []byte{7, byte(len(parts))}
		for _, p := range parts {
			b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
		}
		return append(b, bytes.Join(parts, nil)...)
	}
	summed := func(b []byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{12}, crc32.ChecksumIEEE(b)), b...)
	}
	ping, own, foreign, bye := message(0, "x", "y"), message(3, "x", "me"), message(3, "x", "other"), message(5, "me", "me")
	ownDead := message(5, "x", "me")
	for name, c := range map[string]struct{ in, want []byte }{
		"a ping":                   {ping, ping},
		"an own suspicion":         {own, nil},
		"an own verdict":           {ownDead, nil},
		"a verdict with a sum":     {summed(ownDead), nil},
		"somebody's suspicion":     {foreign, foreign},
		"a good-bye":               {bye, bye},
		"an own one among others":  {compound(ping, own, foreign), compound(ping, foreign)},
		"own ones only":            {compound(own, ownDead), nil},
		"with a sum":               {summed(compound(ping, own)), summed(compound(ping))},
		"nothing of it with a sum": {summed(compound(ping, foreign)), summed(compound(ping, foreign))},
		"a cut compound":           {compound(ping, own)[:9], compound(ping, own)[:9]},
	} {
		if got := gossip.Calmed("me", c.in); !bytes.Equal(got, c.want) {
			t.Errorf("%s: %x becomes %x, want %x", name, c.in, got, c.want)
		}
	}
}

func FuzzCalmedPacketIsNoLongerThanItWas(f *testing.F) {
	f.Add([]byte{7, 2, 0, 1, 0, 1, 0, 3})
	f.Add([]byte("\x03\x83\xabIncarnation\x01\xa4Node\xa1x\xa4From\xa2me"))
	f.Fuzz(func(t *testing.T, packet []byte) {
		if got := gossip.Calmed("me", bytes.Clone(packet)); len(got) > len(packet) {
			t.Errorf("%x becomes %x", packet, got)
		}
		gossip.CalmExchange(bytes.Clone(packet), "x")
	})
}

func TestStateThatGoesOutBlamesNobody(t *testing.T) {
	t.Parallel()
	exchange := func(states ...byte) []byte {
		b := append([]byte{6, 0x83}, "\xa5Nodes"...)
		b = append(append(b, byte(len(states))), "\xacUserStateLen\x00\xa4Join\xc2"...)
		for _, s := range states {
			b = append(append(b, "\x82\xa4Name\xa1x\xa5State"...), s)
		}
		return b
	}
	got := exchange(0, 1, 2, 3)
	gossip.CalmExchange(got, "y")
	if want := exchange(0, 0, 0, 3); !bytes.Equal(got, want) {
		t.Errorf("alive, suspect, dead and left go out as %x, want alive, alive, alive and left", got)
	}
	got = exchange(0, 1, 2, 3)
	gossip.CalmExchange(got, "x")
	if want := exchange(0, 1, 2, 3); !bytes.Equal(got, want) {
		t.Errorf("the peer itself is told %x, want what this node holds of it: it alone can refute it", got)
	}
}

func TestADeathIsToldOnlyOfWhoseSuspicionWasTold(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	ears := gossip.NewEars(time.Second)
	ears.Begin(now)
	ears.Asked("x", now)
	ears.Heard(now.Add(time.Second)) // somebody else answers
	later := now.Add(2 * time.Second)
	if ears.MayTell("x", true, later) {
		t.Error("a death is told before the suspicion, which nobody could refute")
	}
	if !ears.MayTell("x", false, later) || !ears.MayTell("x", true, later) {
		t.Error("a suspicion, and the death after it, are kept back")
	}
	ears.Answered("x", later)
	if ears.MayTell("x", true, later) {
		t.Error("a death is told of a member that has answered since it was suspected")
	}
}
