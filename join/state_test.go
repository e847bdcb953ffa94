package join_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/musterhq/muster"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/store"
)

func open(t *testing.T, dir, name string) *join.State {
	t.Helper()
	s, err := join.Open(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOpenKeepsIdentityAndCountsBoots(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	first := open(t, dir, "").Self()
	second := open(t, dir, "").Self()
	if first.ID != second.ID || !first.Key.Equal(second.Key) || first.Name != second.Name {
		t.Errorf("identity changed from %s %s to %s %s", first.ID, first.Name, second.ID, second.Name)
	}
	if first.Boot.Counter != 1 || second.Boot.Counter != 2 || first.Boot.Random == second.Boot.Random {
		t.Errorf("boots = %+v and %+v, want counters 1 and 2 and other random numbers", first.Boot, second.Boot)
	}
	if err := muster.CheckName(first.Name); err != nil {
		t.Error(err)
	}
	if got := open(t, dir, "n7").Self().Name; got != "n7" {
		t.Errorf("name = %q, want the one that was given", got)
	}
	if got := open(t, dir, "").Self().Name; got != "n7" {
		t.Errorf("name = %q, want the one that was given last time", got)
	}
}

func TestStateIsPrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	open(t, dir, "n1")
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "node.json"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %o, want %o", path, got, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("directory holds %v, %v; want node.json alone", entries, err)
	}
}

func TestClusterAndPeersSurviveARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, "n1")
	cluster := join.Cluster{ID: muster.NewClusterID(), Name: "prod", Store: join.StoreInfo{Kind: store.KindSQLite, Home: s.Self().ID, Epoch: 3}}
	peers := []store.Member{{ID: s.Self().ID, Name: "n2", Endpoint: "http://n2:9113"}}
	if err := errors.Join(s.SetCluster(cluster), s.SetPeers(peers)); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, "")
	if diff := cmp.Diff(cluster, again.Cluster()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(peers, again.Peers()); diff != "" {
		t.Error(diff)
	}
	if err := again.Forget(); err != nil {
		t.Fatal(err)
	}
	if s := open(t, dir, ""); s.Cluster().ID != "" || len(s.Peers()) != 0 || s.Self().ID != again.Self().ID {
		t.Errorf("after Forget: %+v, %v, %s", s.Cluster(), s.Peers(), s.Self().ID)
	}
}

func TestClusterNeverChangesItsIdentityNorGoesBack(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), "n1")
	cluster := join.Cluster{ID: muster.NewClusterID(), Store: join.StoreInfo{Epoch: 2}}
	if err := s.SetCluster(cluster); err != nil {
		t.Fatal(err)
	}
	err := s.SetCluster(join.Cluster{ID: muster.NewClusterID(), Store: join.StoreInfo{Epoch: 9}})
	if muster.CodeOf(err) != muster.CodeClusterMismatch {
		t.Errorf("another id: %v, want cluster-mismatch", err)
	}
	older := cluster
	older.Store.Epoch = 1
	if err := s.SetCluster(older); err != nil || s.Cluster() != cluster {
		t.Errorf("older epoch: %v, cluster %+v; want it ignored", err, s.Cluster())
	}
}

func TestDamagedStateIsRefusedWithAFix(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir, "n1")
	file := filepath.Join(dir, "node.json")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	id := open(t, other, "n2").Self().ID
	for name, content := range map[string]string{
		"empty": "", "cut off": string(whole[:len(whole)/2]), "not json": "hello", "of the future": `{"format":2}`,
		"without a key": `{"format":1,"node_id":"` + string(id) + `"}`,
		"of two nodes":  strings.Replace(string(whole), string(open(t, dir, "").Self().ID), string(id), 1),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "node.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := join.Open(dir, "")
		e, ok := errors.AsType[*muster.Error](err)
		if !ok || e.Code != muster.CodeDataDir || !strings.Contains(e.Text, dir) || !strings.Contains(e.Fix, dir) {
			t.Errorf("%s: %v, want data-dir naming the file and a fix", name, err)
		}
	}
}

func TestNameMustBeOne(t *testing.T) {
	t.Parallel()
	if _, err := join.Open(t.TempDir(), "no spaces"); muster.CodeOf(err) != muster.CodeBadConfig {
		t.Errorf("%v, want bad-config", err)
	}
}

func TestFailedWriteChangesNothing(t *testing.T) {
	t.Parallel()
	disk := &join.Memory{}
	s, err := join.OpenMemory(disk, "n1")
	if err != nil {
		t.Fatal(err)
	}
	disk.Fail(errors.New("disk full"))
	if err := s.SetCluster(join.Cluster{ID: muster.NewClusterID()}); muster.CodeOf(err) != muster.CodeDataDir {
		t.Errorf("%v, want data-dir", err)
	}
	if got := s.Cluster().ID; got != "" {
		t.Errorf("cluster %s is believed though it was not written", got)
	}
	if _, err := join.OpenMemory(disk, ""); err == nil {
		t.Error("a boot that could not be counted was started")
	}
}
