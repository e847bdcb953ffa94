package config_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
)

const cluster = muster.ClusterID("0b8cf2d5-9a3e-4c1f-8f67-2f1f3a9d7c55")

func put(rev int64, kind, name, spec string) muster.Change {
	return muster.Change{
		Rev: rev, Op: muster.OpPut, Kind: kind, Name: name,
		Spec: json.RawMessage(spec), Digest: config.DigestOf([]byte(spec)),
	}
}

func remove(rev int64, kind, name string) muster.Change {
	return muster.Change{Rev: rev, Op: muster.OpDelete, Kind: kind, Name: name}
}

// chained sets the chain of changes that start after prev.
func chained(prev muster.Hash, changes ...muster.Change) []muster.Change {
	for i := range changes {
		prev = config.Next(prev, changes[i])
		changes[i].Chain = prev
	}
	return changes
}

// The vectors bind every implementation in every language, the SQL one included.
// They were computed from the text of the package comment by another program.
func TestChainGoldenVectors(t *testing.T) {
	t.Parallel()
	if got, want := config.Genesis(cluster).String(), "8664319c1117c593ec20ca8bcb27ccfc892b1742d7ea045fcf806f59063c736c"; got != want {
		t.Errorf("genesis is %s, want %s", got, want)
	}
	changes := chained(config.Genesis(cluster),
		put(1, "route", "demo", `{"weight":10}`),
		put(2, "limit", "é", `1`),
		remove(3, "route", "demo"))
	for i, want := range []string{
		"e346a6eab4342469c052c36781afdcaf28b686ecfc5d1757a62c8262dac9df77",
		"b8704c215445d89613f84df4b39b6ad623deff285d31262c45515319333f6772",
		"dee133be57e2018da3e1c98529fc6ad325c69e32d26bdb1cc64f8152137f8ee4",
	} {
		if got := changes[i].Chain.String(); got != want {
			t.Errorf("chain(%d) is %s, want %s", i+1, got, want)
		}
	}
	snap := emptySnapshot(t)
	snap, err := snap.Apply(changes[:2])
	if err != nil {
		t.Fatal(err)
	}
	if got, want := snap.StateDigest().String(), "0d1b53f50b754d7080b31f33a50663d4c063b68eb96e6af93048c101972b7a4a"; got != want {
		t.Errorf("the state digest is %s, want %s", got, want)
	}
}

func TestVerifyFindsEveryDamage(t *testing.T) {
	t.Parallel()
	fresh := func() []muster.Change {
		return chained(config.Genesis(cluster),
			put(1, "route", "a", `1`), put(2, "route", "b", `2`), remove(3, "route", "a"), put(4, "route", "c", `4`))
	}
	if err := config.Verify(config.Genesis(cluster), fresh()); err != nil {
		t.Fatalf("the undamaged history: %v", err)
	}
	for _, tc := range []struct {
		name   string
		damage func([]muster.Change) []muster.Change
		want   error
	}{
		{"a missing revision", func(c []muster.Change) []muster.Change { return append(c[:1], c[2:]...) }, config.ErrGap},
		{"a repeated revision", func(c []muster.Change) []muster.Change { return append(c, c[3]) }, config.ErrGap},
		{"another specification", func(c []muster.Change) []muster.Change { c[1].Spec = json.RawMessage(`3`); return c }, config.ErrChain},
		{"another specification with its digest", func(c []muster.Change) []muster.Change {
			c[1] = put(2, "route", "b", `3`)
			return c
		}, config.ErrChain},
		{"another name", func(c []muster.Change) []muster.Change { c[1].Name = "B"; return c }, config.ErrChain},
		{"kind and name run together", func(c []muster.Change) []muster.Change { c[1].Kind, c[1].Name = "routeb", ""; return c }, config.ErrChain},
		{"a put made a delete", func(c []muster.Change) []muster.Change { c[1].Op = muster.OpDelete; return c }, config.ErrChain},
		{"a delete with a specification", func(c []muster.Change) []muster.Change { c[2].Spec = json.RawMessage(`1`); return c }, config.ErrChain},
		{"an unknown operation", func(c []muster.Change) []muster.Change { c[2].Op = 7; return c }, config.ErrChain},
		{"another first revision", func(c []muster.Change) []muster.Change { return c[1:] }, config.ErrChain},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if err := config.Verify(config.Genesis(cluster), tc.damage(fresh())); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}
