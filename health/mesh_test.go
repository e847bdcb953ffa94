package health_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/health"
)

// blame is what an observer says of members that it does not reach.
func blame(ids ...muster.NodeID) health.Outlook {
	var o health.Outlook
	for _, id := range ids {
		o.Sights = append(o.Sights, health.Sight{ID: id, State: muster.StateAlive, Trouble: []health.Trouble{
			{Channel: "stream", Why: "timeout", Since: time.Unix(1, 0)},
		}})
	}
	return o
}

func TestBrokenLinksAreListedByBothEnds(t *testing.T) {
	t.Parallel()
	alive := func(id muster.NodeID, endpoint string) muster.Member {
		return muster.Member{ID: id, Name: string(id), State: muster.StateAlive, Endpoint: endpoint}
	}
	a, b := alive("a", "http://a:1"), alive("b", "http://b:1")
	inside, within := alive("x", ""), alive("y", "")
	dead := muster.Member{ID: "d", Name: "d", State: muster.StateDead, Endpoint: "http://d:1"}
	isolated := blame("a")
	isolated.Isolated = true
	for name, c := range map[string]struct {
		outlooks map[muster.NodeID]health.Outlook
		want     []string
	}{
		"nobody complains":                         {map[muster.NodeID]health.Outlook{"a": {}, "b": {}}, nil},
		"one direction":                            {map[muster.NodeID]health.Outlook{"a": blame("b"), "b": {}}, []string{"a>b one way"}},
		"both directions":                          {map[muster.NodeID]health.Outlook{"a": blame("b"), "b": blame("a")}, []string{"a>b", "b>a"}},
		"who is isolated blames nobody":            {map[muster.NodeID]health.Outlook{"a": {}, "b": isolated}, nil},
		"links to the isolated are its own fault":  {map[muster.NodeID]health.Outlook{"a": blame("b"), "b": isolated}, nil},
		"the dead have no links":                   {map[muster.NodeID]health.Outlook{"a": blame("d"), "d": blame("a")}, nil},
		"two that can only call have no link":      {map[muster.NodeID]health.Outlook{"x": blame("y"), "y": blame("x")}, nil},
		"one that can only call has links":         {map[muster.NodeID]health.Outlook{"x": blame("a"), "a": blame("x")}, []string{"a>x", "x>a"}},
		"a stranger is not told of, nor tells any": {map[muster.NodeID]health.Outlook{"z": blame("a"), "a": blame("z")}, nil},
	} {
		var got []string
		for _, l := range health.NewMesh(c.outlooks).Broken([]muster.Member{a, b, inside, within, dead}) {
			text := l.From + ">" + l.To
			if l.OneWay {
				text += " one way"
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: want -, got +\n%s", name, diff)
		}
	}
}
