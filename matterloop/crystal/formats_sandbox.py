"""Reads CIF text with pymatgen inside a child process with limits; run as a script by `gate.run_limited`, never imported.

Arguments: memory (bytes), CPU seconds and wall seconds per text. Standard input: a JSON list of texts. Standard output: one JSON line per text,
{"cell", "species", "frac"} or {"error"}. It imports nothing of this package, so that it starts in isolated mode.
"""

import json
import resource
import signal
import sys
import warnings


def structure(text: str) -> dict:
    from pymatgen.io.cif import CifParser

    parser = CifParser.from_str(text, occupancy_tolerance=1.0)
    found = parser.parse_structures(primitive=False)
    if len(parser.symmetry_operations) < 2:  # only texts that name a group other than P 1 come here; pymatgen takes P 1 for what it does not know
        return {"error": "pymatgen does not know the space group either; write the operations as _symmetry_equiv_pos_as_xyz"}
    if len(found) != 1:
        return {"error": f"pymatgen found {len(found)} structures, one is wanted"}
    if not found[0].is_ordered:
        return {"error": "it is disordered (a site is shared or partly occupied); order it first"}
    return {
        "cell": found[0].lattice.matrix.tolist(),
        "species": [site.specie.Z for site in found[0]],
        "frac": found[0].frac_coords.tolist(),
    }


def main(memory: int, cpu: int, wall: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    texts = json.loads(sys.stdin.buffer.read())
    out, sys.stdout = sys.stdout, sys.stderr  # a library that prints cannot spoil the answers
    for text in texts:
        used = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + cpu + 1, resource.RLIM_INFINITY))
        signal.alarm(wall)
        try:
            answer = structure(text)
        except MemoryError:
            answer = {"error": f"pymatgen wanted more than {memory >> 20} MiB"}
        except Exception as error:  # whatever the library throws becomes one line of text
            answer = {"error": f"pymatgen: {type(error).__name__}: {str(error)[:300]}"}
        signal.alarm(0)
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main(*(int(x) for x in sys.argv[1:4]))
