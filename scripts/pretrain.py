from p5t5.cli.pretrain import main

raise SystemExit(main())
