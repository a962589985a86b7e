from p5t5.cli.doctor import main

raise SystemExit(main())
