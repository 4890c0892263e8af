package embedded

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A snapshot file is one line, `oprc-embedded FORMAT DIGEST`, and then the entries
// as gob. The digest is the SHA-256 of what follows the line, in hex.
const (
	magic  = "oprc-embedded"
	format = "1"
)

// readSnapshot returns the entries and the digest of the snapshot; nothing if
// there is no such file. A file that is not as it was written is an error: what
// it held must not vanish without a word.
func readSnapshot(path string) ([]entry, string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read embedded state: %w", err)
	}
	entries, digest, err := decode(data)
	if err != nil {
		return nil, "", fmt.Errorf("read embedded state %s: %w; to start over with an empty state, move that file away", path, err)
	}
	return entries, digest, nil
}

func decode(data []byte) ([]entry, string, error) {
	line, body, _ := bytes.Cut(data, []byte("\n"))
	head := strings.Fields(string(line))
	if len(head) != 3 || head[0] != magic {
		return nil, "", errors.New("it is not a snapshot, or damaged")
	}
	if head[1] != format {
		return nil, "", fmt.Errorf("its format is %s and this program knows %s only", head[1], format)
	}
	if head[2] != digestOf(body) {
		return nil, "", errors.New("it is damaged or cut short (its digest does not match)")
	}
	var entries []entry
	if err := gob.NewDecoder(bytes.NewReader(body)).Decode(&entries); err != nil {
		return nil, "", fmt.Errorf("it is damaged (%w)", err)
	}
	return entries, head[2], nil
}

// encode is what a snapshot holds after its first line, and the digest of that.
func encode(entries []entry) (body []byte, digest string, err error) {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(entries); err != nil {
		return nil, "", err
	}
	return b.Bytes(), digestOf(b.Bytes()), nil
}

// writeSnapshot replaces the file, all or nothing, and returns when that is on disk.
func writeSnapshot(path string, body []byte, digest string) error {
	line := fmt.Sprintf("%s %s %s\n", magic, format, digest)
	return replace(path, append([]byte(line), body...))
}

// replace writes a file that only its owner may read. The temporary file lies beside it:
// elsewhere it could be on another disk, or one that is full.
func replace(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	if d, err := os.Open(dir); err == nil { // not every system can sync a directory
		_ = d.Sync()
		_ = d.Close()
	}
	return nil
}

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
